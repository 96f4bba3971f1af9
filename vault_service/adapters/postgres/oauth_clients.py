"""The table oauth_clients: our registrations at providers, their credentials sealed."""

from __future__ import annotations

from typing import Any, Final

from vault_service.adapters.postgres import pages, rows
from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.pool import Database
from vault_service.domain.audit import AuditRecord
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import OAuthClient
from vault_service.ports import Page

_CREATE: Final = """
    INSERT INTO oauth_clients (
        tenant, oauth_client, provider, issuer, client_id, auth_method, redirect_uris, scopes,
        credential_envelope, credential_version)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (tenant, oauth_client) DO NOTHING
    RETURNING true
"""
_REPLACE: Final = """
    UPDATE oauth_clients SET
        provider = $3, issuer = $4, client_id = $5, auth_method = $6, redirect_uris = $7,
        scopes = $8, credential_envelope = $9, credential_version = $10,
        revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND oauth_client = $2 AND revision = $11
    RETURNING true
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
            done = (
                await connection.fetchval(_REPLACE, *columns, expected_revision)
                if expected_revision
                else await connection.fetchval(_CREATE, *columns)
            )
            if done:
                await insert_record(connection, record)
        return done is True

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
    )
