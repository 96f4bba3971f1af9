"""Parts of a house that watch what is done with them, and how a refusal is asserted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.fakes.clock import FakeEntropy
from tests.fakes.stores import FakeAuditLog
from vault_service.crypto.envelopes import Envelopes
from vault_service.crypto.ring import DekRing
from vault_service.domain.audit import AuditRecord
from vault_service.domain.envelope import Binding, Field
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantAliasName
from vault_service.domain.sensitive import Sensitive


class ObservedEnvelopes(Envelopes):
    """Notes which fields were opened."""

    def __init__(self, ring: DekRing, entropy: FakeEntropy) -> None:
        super().__init__("dep-1", ring, entropy)
        self.opened: list[Field] = []

    async def open(self, binding: Binding, envelope: bytes) -> Sensitive:
        self.opened.append(binding.field)
        return await super().open(binding, envelope)


class ObservedAudit(FakeAuditLog):
    """Runs a step of the test's own just before each disclosure is written."""

    before_disclose: Callable[[Grant], Awaitable[None]] | None = None

    async def disclose(
        self, record: AuditRecord, grant: Grant, alias: GrantAliasName | None = None
    ) -> bool:
        if self.before_disclose is not None:
            await self.before_disclose(grant)
        return await super().disclose(record, grant, alias)


async def refused(reason: Reason, answer: Awaitable[object]) -> VaultError:
    """The refusal that ``answer`` must end with."""
    with pytest.raises(VaultError) as caught:
        await answer
    assert caught.value.reason is reason, caught.value
    return caught.value
