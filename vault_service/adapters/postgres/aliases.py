"""The table grant_aliases, as LinkAlias and UnlinkAlias change it; consents do so in grants.py.

Order of locks: the grant, then the alias.
"""

from __future__ import annotations

import uuid
from typing import Final

from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.pool import Database
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantAliasName

_LOCK_LIVE: Final = """
    SELECT true FROM grants WHERE tenant = $1 AND grant_id = $2 AND state <> 3 FOR NO KEY UPDATE
"""
_LINK: Final = """
    INSERT INTO grant_aliases (tenant, owner, label, grant_id) VALUES ($1, $2, $3, $4)
    ON CONFLICT (tenant, owner, label) DO NOTHING RETURNING true
"""
_LINKED: Final = """
    SELECT grant_id FROM grant_aliases WHERE tenant = $1 AND owner = $2 AND label = $3
"""
_UNLINK: Final = """
    DELETE FROM grant_aliases WHERE tenant = $1 AND owner = $2 AND label = $3 AND grant_id = $4
    RETURNING true
"""


class PostgresGrantAliasStore:
    """ports.GrantAliasStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def link(
        self, alias: GrantAliasName, grant: Grant, record: AuditRecord
    ) -> uuid.UUID | None:
        """Point a new alias at the grant; the id of the grant it points at now, None when the
        grant is REVOKED or gone."""
        key = (alias.tenant, alias.owner, alias.label)
        async with self._database.tenant_transaction(grant.tenant) as connection:
            if not await connection.fetchval(_LOCK_LIVE, grant.tenant, grant.grant_id):
                return None
            if await connection.fetchval(_LINK, *key, grant.grant_id):
                await insert_record(connection, record)
                return grant.grant_id
            there = await connection.fetchval(_LINKED, *key)
        if there is None:
            raise VaultError(
                Reason.STORE_UNREACHABLE,
                "the alias was taken away at this moment; try again",
                retry_after_s=limits.RETRY_AFTER_S,
            )
        return uuid.UUID(bytes=there.bytes)

    async def unlink(self, alias: GrantAliasName, grant: Grant, record: AuditRecord) -> bool:
        """Take the alias away; False when it does not point at this grant (any more)."""
        key = (alias.tenant, alias.owner, alias.label)
        async with self._database.tenant_transaction(alias.tenant) as connection:
            gone = await connection.fetchval(_UNLINK, *key, grant.grant_id)
            if gone:
                await insert_record(connection, record)
        return gone is True
