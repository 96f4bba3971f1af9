"""In-memory grants, leases and the revocation queue."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from tests.fakes.kept_answers import in_question
from tests.fakes.tables import FakeTables
from tests.fakes.turns import shared_out
from tests.fakes.upkeep import note_refreshed
from vault_service.adapters.postgres import pages
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.event import EventKind
from vault_service.domain.grant import (
    EVERY_GRANT,
    Grant,
    GrantFilter,
    GrantState,
    ProviderRevocation,
    Rejection,
    RejectionKind,
)
from vault_service.domain.names import GrantAliasName, GrantTarget, OAuthClientName
from vault_service.domain.oauth import Authorization
from vault_service.ports import Page, QueuedRevocation


class FakeGrantStore:
    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def get(self, target: GrantTarget) -> Grant | None:
        await self._tables.reach()
        if isinstance(target, GrantAliasName):
            return self._read(target.tenant, self._tables.aliases.get(target))
        return self._read(target.tenant, target.grant_id)

    async def get_by_subject(self, client: OAuthClientName, subject: str) -> Grant | None:
        await self._tables.reach()
        for grant in self._tables.grants.values():
            holder = OAuthClientName(grant.tenant, grant.oauth_client)
            live = grant.state is not GrantState.REVOKED
            if live and holder == client and grant.subject == subject:
                return self._read(grant.tenant, grant.grant_id)
        return None

    async def insert(self, grant: Grant, authorization: Authorization, record: AuditRecord) -> bool:
        await self._tables.reach()
        if self._has_outcome(authorization):
            return True
        client = OAuthClientName(grant.tenant, grant.oauth_client)
        if grant.subject and await self.get_by_subject(client, grant.subject):
            return False
        self._tables.require_tenant(grant.tenant)
        if client not in self._tables.oauth_clients:
            raise VaultError(Reason.OAUTH_CLIENT_NOT_FOUND, "no such OAuthClient")
        self._tables.record(record)
        now = self._tables.clock.now()
        stored = replace(grant, revision=1, create_time=now, update_time=now)
        self._put(stored)
        note_refreshed(self._tables, grant)
        self._point_to(grant, authorization)
        self._tables.tell(record, stored, EventKind.CREATED)
        return True

    async def reconnect(
        self,
        grant: Grant,
        expected_revision: int,
        authorization: Authorization,
        record: AuditRecord,
        *,
        only_newest: bool = False,
    ) -> bool:
        await self._tables.reach()
        if self._has_outcome(authorization):
            return True
        if only_newest and self._consented_since(grant, authorization):
            return False
        current = self._read(grant.tenant, grant.grant_id)
        if (
            current is None
            or current.revision != expected_revision
            or current.state is GrantState.REVOKED
        ):
            return False
        before = replace(grant, generation=grant.generation - 1)
        if grant.carries_its_token_on and in_question(self._tables, before):
            return False
        self._tables.record(record)
        stored = self._change(current, replace(grant, create_time=current.create_time))
        note_refreshed(self._tables, grant)
        self._point_to(grant, authorization)
        active = current.state is GrantState.ACTIVE
        kind = EventKind.RECONNECTED if active else EventKind.RECOVERED
        self._tables.tell(record, stored, kind)
        return True

    async def is_consented_since(self, grant: Grant, authorization: Authorization) -> bool:
        await self._tables.reach()
        return self._consented_since(grant, authorization)

    def _consented_since(self, grant: Grant, authorization: Authorization) -> bool:
        assert authorization.claim_time is not None
        return any(
            (one.tenant, one.grant_id) == (grant.tenant, grant.grant_id)
            and one.claim_time is not None
            and one.claim_time > authorization.claim_time
            for one in self._tables.authorizations.values()
        )

    async def list(
        self,
        tenant: str,
        owner: str,
        page_size: int,
        page_token: str,
        only: GrantFilter = EVERY_GRANT,
    ) -> Page[Grant]:
        after = pages.uuid_key(page_token, pages.FIRST_UUID)
        await self._tables.reach()
        aliased = {
            grant_id
            for alias, grant_id in self._tables.aliases.items()
            if (alias.tenant, alias.owner) == (tenant, owner)
        }
        found = [
            self._stamped(grant)
            for grant in self._tables.grants.values()
            if grant.tenant == tenant
            and grant.grant_id > after
            and (not owner or grant.owner == owner or grant.grant_id in aliased)
            and only.state in (None, grant.state)
            and only.oauth_client in ("", grant.oauth_client)
            and only.provider in ("", grant.provider)
            and grant.delete_time is None
        ]
        found.sort(key=lambda grant: grant.grant_id)
        return pages.page_of(found, page_size, lambda grant: grant.grant_id.bytes)

    async def delete(self, grant: Grant, record: AuditRecord) -> Grant | None:
        await self._tables.reach()
        current = self._read(grant.tenant, grant.grant_id)
        if current is None or current.delete_time or current.state is not GrantState.REVOKED:
            return None
        self._tables.record(record)
        for alias in [a for a, at in self._tables.aliases.items() if at == grant.grant_id]:
            del self._tables.aliases[alias]
        deleted = self._change(current, replace(current, delete_time=self._tables.clock.now()))
        self._tables.tell(record, deleted, EventKind.DELETED)
        return deleted

    async def revoke(self, grant: Grant, queued: bool, record: AuditRecord) -> Grant | None:
        await self._tables.reach()
        current = self._read(grant.tenant, grant.grant_id)
        if current is None or current.state is GrantState.REVOKED:
            return current
        self._tables.record(record)
        at_provider = ProviderRevocation.NONE
        if current.refresh_envelope is not None:
            at_provider = ProviderRevocation.PENDING if queued else ProviderRevocation.UNSUPPORTED
        tombstone = replace(
            current,
            state=GrantState.REVOKED,
            cause=None,
            access_envelope=None,
            access_expire_time=None,
            refresh_envelope=None,
            provider_revocation=at_provider,
        )
        self._tables.leases.pop(grant.grant_id, None)
        changed = self._change(current, tombstone)
        if current.refresh_envelope is not None and queued:
            self._enqueue(record, changed, current.refresh_envelope, current.refresh_generation)
        self._tables.tell(record, changed, EventKind.REVOKED)
        return changed

    async def reject(self, grant: Grant, interval_s: float, record: AuditRecord) -> Rejection:
        await self._tables.reach()
        current = self._read(grant.tenant, grant.grant_id)
        if current is None:
            raise VaultError(Reason.GRANT_NOT_FOUND, "no such grant")
        alive = current.state is GrantState.ACTIVE
        if not alive or current.generation != grant.generation:
            return Rejection(RejectionKind.MOVED)
        if current.rejected_generation == current.generation:
            return Rejection(RejectionKind.STANDING)
        now = self._tables.clock.now()
        last = self._tables.rejected.get(grant.grant_id)
        wait_s = 0.0 if last is None else interval_s - (now - last).total_seconds()
        if wait_s > 0:
            return Rejection(RejectionKind.TOO_SOON, wait_s)
        self._tables.record(record)
        self._tables.rejected[grant.grant_id] = now
        self._change(current, replace(current, rejected_generation=current.generation))
        return Rejection(RejectionKind.MARKED)

    async def queue_revocation(
        self, grant: Grant, refresh_envelope: bytes, generation: int, record: AuditRecord
    ) -> None:
        await self._tables.reach()
        if self._tables.is_recorded(record):
            return
        current = self._read(grant.tenant, grant.grant_id)
        if current is None:
            raise VaultError(Reason.GRANT_NOT_FOUND, "no such grant")
        self._tables.record(record)
        pending = replace(current, provider_revocation=ProviderRevocation.PENDING)
        self._enqueue(record, self._change(current, pending), refresh_envelope, generation)

    def _read(self, tenant: str, grant_id: uuid.UUID | None) -> Grant | None:
        grant = self._tables.grants.get(grant_id) if grant_id else None
        return self._stamped(grant) if grant and grant.tenant == tenant else None

    def _stamped(self, grant: Grant) -> Grant:
        return replace(grant, read_time=self._tables.clock.now())

    def _put(self, grant: Grant) -> None:
        self._tables.grants[grant.grant_id] = grant

    def _change(self, current: Grant, new: Grant) -> Grant:
        now = self._tables.clock.now()
        changed = replace(new, revision=current.revision + 1, update_time=now, read_time=now)
        self._put(changed)
        return changed

    def _has_outcome(self, authorization: Authorization) -> bool:
        known = self._tables.authorizations.get(authorization.state_hash)
        return known is not None and known.grant_id is not None

    def _point_to(self, grant: Grant, authorization: Authorization) -> None:
        owner, label = authorization.owner, authorization.label
        self._tables.aliases[GrantAliasName(grant.tenant, owner, label)] = grant.grant_id
        known = self._tables.authorizations.get(authorization.state_hash)
        if known is not None:
            self._tables.authorizations[authorization.state_hash] = replace(
                known, grant_id=grant.grant_id, ending=None, answer_envelope=None
            )

    def _enqueue(self, record: AuditRecord, grant: Grant, envelope: bytes, generation: int) -> None:
        now = self._tables.clock.now()
        self._tables.due[record.record_id] = now
        self._tables.queue[record.record_id] = QueuedRevocation(
            queue_id=record.record_id,
            grant=grant,
            refresh_envelope=envelope,
            generation=generation,
            attempts=0,
            expire_time=now + timedelta(seconds=limits.REVOCATION_KEEP_S),
        )


class FakeRevocationQueue:
    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def take_due(self, room: int, held: Mapping[str, int]) -> Sequence[QueuedRevocation]:
        await self._tables.reach()
        due = self._due(self._tables.queue.values())
        return self._take(shared_out(due, lambda row: row.grant.tenant, room, held))

    async def take_for(self, grant: Grant) -> Sequence[QueuedRevocation]:
        await self._tables.reach()
        rows = [q for q in self._tables.queue.values() if q.grant.name == grant.name]
        return self._take(self._due(rows)[: limits.REVOCATION_BATCH_MAX])

    async def finish(
        self, item: QueuedRevocation, outcome: ProviderRevocation, record: AuditRecord
    ) -> None:
        await self._tables.reach()
        if item.queue_id not in self._tables.queue:
            return
        self._tables.record(record)
        del self._tables.queue[item.queue_id]
        grant = self._tables.grants[item.grant.grant_id]
        pending = any(q.grant.name == grant.name for q in self._tables.queue.values())
        self._tables.grants[grant.grant_id] = replace(
            grant,
            provider_revocation=grant.provider_revocation if pending else outcome,
            revision=grant.revision + 1,
            update_time=self._tables.clock.now(),
        )

    async def postpone(self, item: QueuedRevocation, delay_s: float) -> None:
        await self._tables.reach()
        known = self._tables.queue.get(item.queue_id)
        if known is not None:
            self._tables.queue[item.queue_id] = replace(known, attempts=known.attempts + 1)
            self._hide(known.queue_id, delay_s)

    def _due(self, rows: Iterable[QueuedRevocation]) -> list[QueuedRevocation]:
        now = self._tables.clock.now()
        due = [row for row in rows if self._tables.due[row.queue_id] <= now]
        return sorted(due, key=lambda row: self._tables.due[row.queue_id])

    def _take(self, due: Sequence[QueuedRevocation]) -> list[QueuedRevocation]:
        for row in due:
            self._hide(row.queue_id, limits.REVOCATION_HIDE_S)
        taken = [replace(row, grant=self._current(row)) for row in due]
        return sorted(taken, key=lambda row: row.queue_id)

    def _current(self, row: QueuedRevocation) -> Grant:
        grant = self._tables.grants[row.grant.grant_id]
        return replace(grant, read_time=self._tables.clock.now())

    def _hide(self, queue_id: uuid.UUID, delay_s: float) -> None:
        self._tables.due[queue_id] = self._tables.clock.now() + timedelta(seconds=delay_s)
