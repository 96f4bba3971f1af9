"""Tokens that providers must still be told to revoke."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from vault_service.domain.audit import AuditRecord
from vault_service.domain.consent import DiscardedToken
from vault_service.domain.grant import Grant, ProviderRevocation


@dataclass(frozen=True, slots=True)
class QueuedRevocation:
    """One refresh token that the provider must still be told to revoke."""

    queue_id: uuid.UUID
    grant: Grant
    refresh_envelope: bytes
    generation: int
    attempts: int
    expire_time: datetime


class RevocationQueue(Protocol):
    """Work for the worker role, across tenants. A taken row is hidden from others for a minute."""

    async def take_due(self, room: int, held: Mapping[str, int]) -> Sequence[QueuedRevocation]:
        """Rows whose time has come, at most ``room``, skipping locked ones. ``held``: how many each
        tenant has under way; it gets one more while that is fewer than are free."""

    async def take_for(self, grant: Grant) -> Sequence[QueuedRevocation]:
        """The rows of one grant, for the attempt that follows RevokeGrant at once."""

    async def finish(
        self, item: QueuedRevocation, outcome: ProviderRevocation, record: AuditRecord
    ) -> None:
        """Delete the row with its envelope and write the outcome to the grant, which stays PENDING
        while another row of it is queued. A row that is gone changes and records nothing."""

    async def postpone(self, item: QueuedRevocation, delay_s: float) -> None:
        """Try again later."""


class DiscardedTokens(Protocol):
    """As ``RevocationQueue``, for tokens of consents that made no grant: ``AuthorizationStore.end``
    puts them here."""

    async def take_due(self, room: int, held: Mapping[str, int]) -> Sequence[DiscardedToken]:
        """Those whose time has come, shared out among tenants in the same way."""

    async def take_for(self, tenant: str, authorization_id: uuid.UUID) -> Sequence[DiscardedToken]:
        """Those of one authorization, for the attempt that follows its end at once."""

    async def finish(self, token: DiscardedToken, record: AuditRecord) -> None:
        """Delete the row with its envelope. One that is gone changes and records nothing."""

    async def postpone(self, token: DiscardedToken, delay_s: float) -> None:
        """Try again later."""
