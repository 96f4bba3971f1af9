"""Consents under way, and how their storing fails."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from vault_service.domain.audit import AuditRecord
from vault_service.domain.consent import DiscardedToken, Ending
from vault_service.domain.oauth import Authorization


class AuthorizationStore(Protocol):
    """Consents under way. STORE_UNREACHABLE; each write is in one transaction with its record.

    An outcome, a grant or an ending, is final: whoever comes later changes and records nothing.
    """

    async def insert(
        self, authorization: Authorization, life_s: int, record: AuditRecord
    ) -> datetime:
        """Remember one; returns its expire_time, ``life_s`` from now on the database's clock (the
        times in ``authorization`` are not read). TENANT_NOT_PROVISIONED."""

    async def find(self, tenant: str, state_hash: bytes) -> Authorization | None:
        """By SHA-256 of the state."""

    async def find_by_id(self, tenant: str, authorization_id: uuid.UUID) -> Authorization | None:
        """By its id, as a spool knows it."""

    async def claim(
        self,
        authorization: Authorization,
        code_hash: bytes,
        claim_id: uuid.UUID,
        record: AuditRecord,
    ) -> bool:
        """Take the right to present the code; False when someone holds or held it, or the
        authorization has ended."""

    async def give_back(
        self, authorization: Authorization, claim_id: uuid.UUID, record: AuditRecord
    ) -> None:
        """The code was surely not looked at: it may be claimed again. Does nothing for another
        claim."""

    async def deny(self, authorization: Authorization, ending: Ending, record: AuditRecord) -> bool:
        """The callback brought an error instead of a code. False when a code was claimed, or it
        has ended already."""

    async def end(
        self,
        authorization: Authorization,
        claim_id: uuid.UUID,
        ending: Ending,
        record: AuditRecord,
        *,
        answer_envelope: bytes | None = None,
        discarded: DiscardedToken | None = None,
    ) -> None:
        """This claim makes no grant, for the reason of ``ending``.

        ``answer_envelope``: an answer that cannot be read, kept in the row; such an ending may be
        followed by another outcome. ``discarded``: a token for ``DiscardedTokens`` (its times are
        not read). The same record again, after a commit whose answer was lost, does nothing.
        """

    async def is_superseded(self, authorization: Authorization) -> bool:
        """Whether this owner has consented under the same label since this claim."""


class KeptConsents(Protocol):
    """Authorizations with an answer in the row that could not be read. STORE_UNREACHABLE."""

    async def due(self, limit: int) -> Sequence[Authorization]:
        """Those whose answer was not read in vain with the provider's profile and the reader
        (``domain.attempt.READER``) of now, over all tenants, which take turns."""

    async def read_in_vain(self, authorization: Authorization, revision: int) -> None:
        """Its answer cannot be read with the profile at this revision of the provider."""
