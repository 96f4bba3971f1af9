"""In-memory authorizations, and the tokens of those that made no grant."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tests.fakes.tables import FakeTables
from tests.fakes.turns import shared_out
from vault_service.domain import limits
from vault_service.domain.attempt import READER
from vault_service.domain.audit import AuditRecord
from vault_service.domain.consent import NO_CODE_HASH, DiscardedToken, Ending
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.oauth import Authorization


class FakeAuthorizationStore:
    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def insert(
        self, authorization: Authorization, life_s: int, record: AuditRecord
    ) -> datetime:
        await self._tables.reach()
        self._tables.require_tenant(authorization.tenant)
        name = OAuthClientName(authorization.tenant, authorization.oauth_client)
        if name not in self._tables.oauth_clients:
            raise VaultError(Reason.OAUTH_CLIENT_NOT_FOUND, "no such OAuthClient")
        self._tables.record(record)
        now = self._tables.clock.now()
        expire_time = now + timedelta(seconds=life_s)
        self._tables.authorizations[authorization.state_hash] = replace(
            authorization,
            create_time=now,
            expire_time=expire_time,
            code_hash=None,
            claim_time=None,
            grant_id=None,
        )
        return expire_time

    async def find(self, tenant: str, state_hash: bytes) -> Authorization | None:
        await self._tables.reach()
        found = self._tables.authorizations.get(state_hash)
        if found is None or found.tenant != tenant:
            return None
        return replace(found, read_time=self._tables.clock.now())

    async def find_by_id(self, tenant: str, authorization_id: uuid.UUID) -> Authorization | None:
        for found in self._tables.authorizations.values():
            if found.authorization_id == authorization_id:
                return await self.find(tenant, found.state_hash)
        return None

    async def claim(
        self,
        authorization: Authorization,
        code_hash: bytes,
        claim_id: uuid.UUID,
        record: AuditRecord,
    ) -> bool:
        found = await self._current(authorization)
        if found is None or found.code_hash is not None:
            return False
        now = self._tables.clock.now()
        self._change(found, record, code_hash=code_hash, claim_id=claim_id, claim_time=now)
        return True

    async def give_back(
        self, authorization: Authorization, claim_id: uuid.UUID, record: AuditRecord
    ) -> None:
        found = await self._current(authorization)
        open_yet = found is not None and found.grant_id is None and found.ending is None
        if found is not None and open_yet and found.claim_id == claim_id:
            self._change(found, record, code_hash=None, claim_id=None, claim_time=None)

    async def deny(self, authorization: Authorization, ending: Ending, record: AuditRecord) -> bool:
        found = await self._current(authorization)
        if found is None or found.code_hash is not None:
            return False
        never = self._tables.clock.now() - timedelta(seconds=limits.COMPLETION_REPLAY_S)
        self._change(found, record, code_hash=NO_CODE_HASH, ending=ending, claim_time=never)
        return True

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
        found = await self._current(authorization)
        if found is None or self._tables.is_recorded(record) or found.claim_id != claim_id:
            return
        final = found.ending is not None and found.answer_envelope is None
        if found.grant_id is not None or final:
            return
        self._change(found, record, ending=ending, answer_envelope=answer_envelope)
        if discarded is not None:
            now = self._tables.clock.now()
            expire_time = now + timedelta(seconds=limits.REVOCATION_KEEP_S)
            self._tables.due[discarded.token_id] = now
            self._tables.discarded[discarded.token_id] = replace(discarded, expire_time=expire_time)

    async def is_superseded(self, authorization: Authorization) -> bool:
        await self._tables.reach()

        def whose(one: Authorization) -> tuple[str, str, str, str]:
            return one.tenant, one.owner, one.label, one.oauth_client

        assert authorization.claim_time is not None
        return any(
            whose(other) == whose(authorization)
            and other.grant_id is not None
            and other.claim_time is not None
            and other.claim_time > authorization.claim_time
            for other in self._tables.authorizations.values()
        )

    async def _current(self, authorization: Authorization) -> Authorization | None:
        return await self.find(authorization.tenant, authorization.state_hash)

    def _change(self, found: Authorization, record: AuditRecord, **changes: Any) -> None:
        self._tables.record(record)
        self._tables.authorizations[found.state_hash] = replace(found, **changes)


class FakeKeptConsents:
    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def due(self, limit: int) -> Sequence[Authorization]:
        await self._tables.reach()
        now = self._tables.clock.now()
        found = [one for one in self._tables.authorizations.values() if self._is_due(one)]
        by_tenant: dict[str, int] = {}
        turns = {one.state_hash: self._turn(by_tenant, one) for one in found}
        found.sort(key=lambda one: turns[one.state_hash])
        return [replace(one, read_time=now) for one in found[:limit]]

    async def read_in_vain(self, authorization: Authorization, revision: int) -> None:
        await self._tables.reach()
        self._tables.consent_reads[authorization.state_hash] = (revision, READER)

    def _is_due(self, one: Authorization) -> bool:
        name = ProviderName(one.tenant, one.provider)
        wanted = (self._tables.providers[name].revision, READER)
        read = self._tables.consent_reads.get(one.state_hash)
        return one.answer_envelope is not None and read != wanted

    @staticmethod
    def _turn(by_tenant: dict[str, int], one: Authorization) -> int:
        by_tenant[one.tenant] = by_tenant.get(one.tenant, 0) + 1
        return by_tenant[one.tenant]


class FakeDiscardedTokens:
    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def take_due(self, room: int, held: Mapping[str, int]) -> Sequence[DiscardedToken]:
        await self._tables.reach()
        due = self._due(self._tables.discarded.values())
        return self._take(shared_out(due, lambda row: row.tenant, room, held))

    async def take_for(self, tenant: str, authorization_id: uuid.UUID) -> Sequence[DiscardedToken]:
        await self._tables.reach()
        wanted = (tenant, authorization_id)
        found = self._tables.discarded.values()
        rows = [one for one in found if (one.tenant, one.authorization_id) == wanted]
        return self._take(self._due(rows)[: limits.REVOCATION_BATCH_MAX])

    async def finish(self, token: DiscardedToken, record: AuditRecord) -> None:
        await self._tables.reach()
        if token.token_id in self._tables.discarded:
            self._tables.record(record)
            del self._tables.discarded[token.token_id]

    async def postpone(self, token: DiscardedToken, delay_s: float) -> None:
        await self._tables.reach()
        known = self._tables.discarded.get(token.token_id)
        if known is not None:
            later = replace(known, attempts=known.attempts + 1)
            self._tables.discarded[token.token_id] = later
            self._hide(token.token_id, delay_s)

    def _due(self, rows: Iterable[DiscardedToken]) -> list[DiscardedToken]:
        now = self._tables.clock.now()
        due = [row for row in rows if self._tables.due[row.token_id] <= now]
        return sorted(due, key=lambda row: self._tables.due[row.token_id])

    def _take(self, due: Sequence[DiscardedToken]) -> list[DiscardedToken]:
        for row in due:
            self._hide(row.token_id, limits.REVOCATION_HIDE_S)
        return [replace(row, read_time=self._tables.clock.now()) for row in due]

    def _hide(self, token_id: uuid.UUID, delay_s: float) -> None:
        self._tables.due[token_id] = self._tables.clock.now() + timedelta(seconds=delay_s)
