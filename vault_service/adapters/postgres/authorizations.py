"""The table authorizations: consents under way."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from vault_service.adapters.postgres import rows
from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.pool import Database
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.oauth import Authorization

_INSERT: Final = """
    INSERT INTO authorizations (
        tenant, authorization_id, state_hash, caller, owner, label, oauth_client, provider,
        redirect_uri, scopes, nonce, verifier_envelope, expire_time)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp() + $13::interval)
    RETURNING expire_time
"""


class PostgresAuthorizationStore:
    """ports.AuthorizationStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(
        self, authorization: Authorization, life_s: int, record: AuditRecord
    ) -> datetime:
        """Remember one; returns its expire_time, ``life_s`` from now on the database's clock.

        TENANT_NOT_PROVISIONED, OAUTH_CLIENT_NOT_FOUND.
        """
        async with self._database.tenant_transaction(authorization.tenant) as connection:
            expire_time = await connection.fetchval(
                _INSERT,
                authorization.tenant,
                authorization.authorization_id,
                authorization.state_hash,
                authorization.caller,
                authorization.owner,
                authorization.label,
                authorization.oauth_client,
                authorization.provider,
                authorization.redirect_uri,
                authorization.scopes,
                authorization.nonce,
                authorization.verifier_envelope,
                timedelta(seconds=life_s),
            )
            await insert_record(connection, record)
        if not isinstance(expire_time, datetime):
            raise VaultError(Reason.INTERNAL, "an authorization vanished while it was inserted")
        return expire_time

    async def find(self, tenant: str, state_hash: bytes) -> Authorization | None:
        """By SHA-256 of the state."""
        async with self._database.tenant_transaction(tenant) as connection:
            row = await connection.fetchrow(
                f"SELECT {rows.AUTHORIZATION} FROM authorizations"  # noqa: S608
                " WHERE tenant = $1 AND state_hash = $2",
                tenant,
                state_hash,
            )
        return rows.authorization_from(row) if row else None

    async def claim(self, tenant: str, state_hash: bytes, code_hash: bytes) -> bool:
        """Take the right to exchange the code; False when someone holds or held it."""
        async with self._database.tenant_transaction(tenant) as connection:
            claimed = await connection.fetchval(
                "UPDATE authorizations SET code_hash = $3, claim_time = clock_timestamp()"
                " WHERE tenant = $1 AND state_hash = $2 AND code_hash IS NULL RETURNING true",
                tenant,
                state_hash,
                code_hash,
            )
        return claimed is True

    async def abandon(self, tenant: str, state_hash: bytes, code_hash: bytes) -> None:
        """This claim will never have an outcome."""
        async with self._database.tenant_transaction(tenant) as connection:
            await connection.execute(
                "UPDATE authorizations SET claim_time = claim_time - $4::interval"
                " WHERE tenant = $1 AND state_hash = $2 AND code_hash = $3 AND grant_id IS NULL",
                tenant,
                state_hash,
                code_hash,
                timedelta(seconds=limits.COMPLETION_REPLAY_S),
            )

    async def unclaim(self, tenant: str, state_hash: bytes, code_hash: bytes) -> None:
        """Give it back after a try that did not reach an outcome."""
        async with self._database.tenant_transaction(tenant) as connection:
            await connection.execute(
                "UPDATE authorizations SET code_hash = NULL, claim_time = NULL"
                " WHERE tenant = $1 AND state_hash = $2 AND code_hash = $3 AND grant_id IS NULL",
                tenant,
                state_hash,
                code_hash,
            )


class PostgresSweeper:
    """Clears away what nobody needs any more, over all tenants; wants the worker role."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete_expired_authorizations(self, limit: int) -> int:
        """Delete at most ``limit``, oldest first; returns how many.

        They are kept a day beyond their end, so that a late or repeated callback is told that
        its state expired or its code was used, and not that there never was such a state.
        """
        deleted = await self._database.call(
            "DELETE FROM authorizations WHERE state_hash IN ("
            " SELECT state_hash FROM authorizations WHERE expire_time < now() - $1::interval"
            " ORDER BY expire_time LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING true",
            timedelta(seconds=limits.AUTHORIZATION_KEEP_S),
            limit,
        )
        return len(deleted)
