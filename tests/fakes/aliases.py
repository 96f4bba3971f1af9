"""In-memory aliases of grants, as callers link them."""

from __future__ import annotations

import uuid

from tests.fakes.tables import FakeTables
from vault_service.domain.audit import AuditRecord
from vault_service.domain.grant import Grant, GrantState
from vault_service.domain.names import GrantAliasName


class FakeGrantAliasStore:
    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def link(
        self, alias: GrantAliasName, grant: Grant, record: AuditRecord
    ) -> uuid.UUID | None:
        await self._tables.reach()
        current = self._tables.grants.get(grant.grant_id)
        if current is None or current.tenant != grant.tenant:
            return None
        if current.state is GrantState.REVOKED:
            return None
        there = self._tables.aliases.get(alias)
        if there is None:
            self._tables.record(record)
            self._tables.aliases[alias] = grant.grant_id
        return there or grant.grant_id

    async def unlink(self, alias: GrantAliasName, grant: Grant, record: AuditRecord) -> bool:
        await self._tables.reach()
        if self._tables.aliases.get(alias) != grant.grant_id:
            return False
        self._tables.record(record)
        del self._tables.aliases[alias]
        return True
