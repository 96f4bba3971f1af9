"""The table oauth_clients: our registrations at providers, the credentials in use sealed in it.

Every change locks the row of oauth_clients first, then those of client_credentials.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from vault_service.adapters.postgres import pages, rows
from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.client_credentials import (
    keep,
    newest_beside,
    newest_version,
    retire,
    retire_all,
    touch,
    use,
)
from vault_service.adapters.postgres.pool import Database
from vault_service.domain.audit import AuditRecord
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import OAuthClient, SealedCredential
from vault_service.ports import Page

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

_CREATE: Final = """
    INSERT INTO oauth_clients (
        tenant, oauth_client, provider, issuer, client_id, auth_method, redirect_uris, scopes,
        credential_envelope, credential_version, token_params, credential_time)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, clock_timestamp())
    ON CONFLICT (tenant, oauth_client) DO NOTHING
    RETURNING true
"""
_LOCK: Final = f"""
    SELECT {rows.OAUTH_CLIENT} FROM oauth_clients
    WHERE tenant = $1 AND oauth_client = $2 FOR NO KEY UPDATE
"""  # noqa: S608
_REPLACE: Final = """
    UPDATE oauth_clients SET
        provider = $3, issuer = $4, client_id = $5, auth_method = $6, redirect_uris = $7,
        scopes = $8, credential_envelope = $9, credential_version = $10, token_params = $11,
        credential_time = CASE
            WHEN credential_version = $10 THEN credential_time ELSE clock_timestamp() END,
        revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND oauth_client = $2
"""
_SUSPEND: Final = """
    UPDATE oauth_clients SET
        suspend_time = CASE WHEN $3 THEN clock_timestamp() END,
        revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND oauth_client = $2 AND (suspend_time IS NULL) = $3 RETURNING true
"""


class PostgresOAuthClientStore:
    """ports.OAuthClientStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, client: OAuthClient, expected_revision: int, record: AuditRecord) -> bool:
        """Create (expected 0) or replace the row at that revision; False when it has moved.

        CLIENT_ID_IN_USE when another OAuthClient, of this tenant or another, has this client_id
        at this issuer. TENANT_NOT_PROVISIONED, PROVIDER_NOT_FOUND.
        """
        columns = _columns(client)
        async with self._database.tenant_transaction(client.name.tenant) as connection:
            if not expected_revision:
                if not await connection.fetchval(_CREATE, *columns):
                    return False
            else:
                current = await _locked(connection, client.name, expected_revision)
                if current is None:
                    return False
                await connection.execute(_REPLACE, *columns)
                if current.credential_version != client.credential_version:
                    await retire(connection, current, current.credential_version)
                    if client.is_public:
                        await retire_all(connection, client.name)
            await insert_record(connection, record)
        return True

    async def next_credential_version(self, name: OAuthClientName) -> int:
        """One more than every number that was ever given to a credential of it."""
        async with self._database.tenant_transaction(name.tenant) as connection:
            return await newest_version(connection, name) + 1

    async def add_credential(
        self, client: OAuthClient, credential: SealedCredential, record: AuditRecord
    ) -> bool:
        """Use this one from now on and keep the one in use beside it; False when it has moved."""
        async with self._database.tenant_transaction(client.name.tenant) as connection:
            current = await _locked(connection, client.name, client.revision)
            if current is not None:
                await keep(connection, current)
                await use(connection, client.name, credential, None)
                await insert_record(connection, record)
        return current is not None

    async def retire_credential(
        self, client: OAuthClient, version: int, record: AuditRecord
    ) -> bool:
        """Destroy one envelope; the newest other one is in use then. False when it has moved, or
        no other one is left."""
        async with self._database.tenant_transaction(client.name.tenant) as connection:
            current = await _locked(connection, client.name, client.revision)
            if current is None:
                return False
            if version == current.credential_version:
                heir = await newest_beside(connection, current)
                if heir is None:
                    return False
                await use(connection, client.name, *heir)
            else:
                await touch(connection, client.name)
            await retire(connection, current, version)
            await insert_record(connection, record)
        return True

    async def older_credential(self, client: OAuthClient) -> SealedCredential | None:
        """The newest one that is not retired beside the one in use, or None."""
        async with self._database.tenant_transaction(client.name.tenant) as connection:
            found = await newest_beside(connection, client)
        return found[0] if found else None

    async def suspend(
        self, name: OAuthClientName, suspended: bool, record: AuditRecord
    ) -> OAuthClient | None:
        """Suspend, or end it; None when there is no such OAuthClient."""
        key = (name.tenant, name.oauth_client)
        async with self._database.tenant_transaction(name.tenant) as connection:
            if await connection.fetchval(_SUSPEND, *key, suspended):
                await insert_record(connection, record)
            row = await connection.fetchrow(_LOCK, *key)
        return rows.oauth_client_from(row) if row else None

    async def get(self, name: OAuthClientName) -> OAuthClient | None:
        """One OAuthClient or None."""
        async with self._database.tenant_transaction(name.tenant) as connection:
            row = await connection.fetchrow(
                f"SELECT {rows.OAUTH_CLIENT} FROM oauth_clients"  # noqa: S608
                " WHERE tenant = $1 AND oauth_client = $2",
                name.tenant,
                name.oauth_client,
            )
        return rows.oauth_client_from(row) if row else None

    async def list(self, tenant: str, page_size: int, page_token: str) -> Page[OAuthClient]:
        """By id. FIELD_MALFORMED for a page token that is not ours."""
        after = pages.text_key(page_token)
        async with self._database.tenant_transaction(tenant) as connection:
            found = await connection.fetch(
                f"SELECT {rows.OAUTH_CLIENT} FROM oauth_clients"  # noqa: S608
                ' WHERE tenant = $1 AND oauth_client > $2 COLLATE "C"'
                ' ORDER BY oauth_client COLLATE "C" LIMIT $3',
                tenant,
                after,
                pages.rows_wanted(page_size),
            )
        clients = [rows.oauth_client_from(row) for row in found]
        return pages.page_of(clients, page_size, lambda one: one.name.oauth_client.encode())


async def _locked(
    connection: Connection, name: OAuthClientName, revision: int
) -> OAuthClient | None:
    """The row while nobody else changes it; None when it is not at this revision."""
    row = await connection.fetchrow(_LOCK, name.tenant, name.oauth_client)
    return rows.oauth_client_from(row) if row and row["revision"] == revision else None


def _columns(client: OAuthClient) -> tuple[Any, ...]:
    return (
        client.name.tenant,
        client.name.oauth_client,
        client.provider,
        client.issuer,
        client.client_id,
        client.auth_method.value,
        client.redirect_uris,
        client.scopes,
        client.credential_envelope,
        client.credential_version,
        json.dumps(dict(client.token_params)),
    )
