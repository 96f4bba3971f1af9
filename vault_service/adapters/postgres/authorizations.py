"""The table authorizations: consents under way."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Final

from vault_service.adapters.postgres import rows
from vault_service.adapters.postgres.audit import insert_record, is_recorded
from vault_service.adapters.postgres.discarded_tokens import insert_discarded
from vault_service.adapters.postgres.pool import Database
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.consent import NO_CODE_HASH, DiscardedToken, Ending
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.oauth import Authorization

_INSERT: Final = """
    INSERT INTO authorizations (
        tenant, authorization_id, state_hash, caller, owner, label, oauth_client, provider,
        redirect_uri, scopes, nonce, verifier_envelope, expire_time)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp() + $13::interval)
    RETURNING expire_time
"""
_CLAIM: Final = """
    UPDATE authorizations SET code_hash = $3, claim_id = $4, claim_time = clock_timestamp()
    WHERE tenant = $1 AND state_hash = $2 AND code_hash IS NULL
    RETURNING true
"""
_GIVE_BACK: Final = """
    UPDATE authorizations SET code_hash = NULL, claim_id = NULL, claim_time = NULL
    WHERE tenant = $1 AND state_hash = $2 AND claim_id = $3
        AND grant_id IS NULL AND ending IS NULL
    RETURNING true
"""
_DENY: Final = """
    UPDATE authorizations SET
        code_hash = $3, ending = $4, claim_time = clock_timestamp() - $5::interval
    WHERE tenant = $1 AND state_hash = $2 AND code_hash IS NULL
    RETURNING true
"""
_END: Final = """
    UPDATE authorizations SET ending = $4, answer_envelope = $5
    WHERE tenant = $1 AND state_hash = $2 AND claim_id = $3
        AND grant_id IS NULL AND (ending IS NULL OR answer_envelope IS NOT NULL)
    RETURNING true
"""
_SUPERSEDED: Final = """
    SELECT true FROM authorizations
    WHERE tenant = $1 AND owner = $2 AND label = $3 AND oauth_client = $4
        AND grant_id IS NOT NULL AND claim_time > $5
    LIMIT 1
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

    async def find_by_id(self, tenant: str, authorization_id: uuid.UUID) -> Authorization | None:
        """By its id, as a spool knows it."""
        async with self._database.tenant_transaction(tenant) as connection:
            row = await connection.fetchrow(
                f"SELECT {rows.AUTHORIZATION} FROM authorizations"  # noqa: S608
                " WHERE tenant = $1 AND authorization_id = $2",
                tenant,
                authorization_id,
            )
        return rows.authorization_from(row) if row else None

    async def claim(
        self,
        authorization: Authorization,
        code_hash: bytes,
        claim_id: uuid.UUID,
        record: AuditRecord,
    ) -> bool:
        """Take the right to present the code; False when someone holds or held it."""
        return await self._recorded(_CLAIM, authorization, record, code_hash, claim_id)

    async def give_back(
        self, authorization: Authorization, claim_id: uuid.UUID, record: AuditRecord
    ) -> None:
        """The code was surely not looked at: it may be claimed again."""
        await self._recorded(_GIVE_BACK, authorization, record, claim_id)

    async def deny(self, authorization: Authorization, ending: Ending, record: AuditRecord) -> bool:
        """The callback brought an error instead of a code."""
        return await self._recorded(
            _DENY,
            authorization,
            record,
            NO_CODE_HASH,
            rows.ending_to_json(ending),
            # For the release before: a claim that nobody can still wait for.
            timedelta(seconds=limits.COMPLETION_REPLAY_S),
        )

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
        """This claim makes no grant."""
        async with self._database.tenant_transaction(authorization.tenant) as connection:
            if await is_recorded(connection, record):
                return
            ended = await connection.fetchval(
                _END,
                authorization.tenant,
                authorization.state_hash,
                claim_id,
                rows.ending_to_json(ending),
                answer_envelope,
            )
            if not ended:
                return
            if discarded is not None:
                await insert_discarded(connection, discarded)
            await insert_record(connection, record)

    async def is_superseded(self, authorization: Authorization) -> bool:
        """Whether this owner has consented under the same label since this claim."""
        async with self._database.tenant_transaction(authorization.tenant) as connection:
            found = await connection.fetchval(
                _SUPERSEDED,
                authorization.tenant,
                authorization.owner,
                authorization.label,
                authorization.oauth_client,
                authorization.claim_time,
            )
        return found is True

    async def _recorded(
        self, statement: str, authorization: Authorization, record: AuditRecord, *values: object
    ) -> bool:
        """Whether the statement changed the row; its record goes with the change only."""
        tenant = authorization.tenant
        async with self._database.tenant_transaction(tenant) as connection:
            changed = await connection.fetchval(
                statement, tenant, authorization.state_hash, *values
            )
            if changed:
                await insert_record(connection, record)
        return changed is True
