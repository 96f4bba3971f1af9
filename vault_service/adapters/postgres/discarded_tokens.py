"""The table discarded_tokens: tokens of consents that made no grant, to be revoked.

As in ``revocations``, the worker role only finds and takes what is due, over all tenants; every
other change is made as the role of requests, inside the token's own tenant.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres import rows
from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.turns import holdings, shared_out
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.consent import DiscardedToken, TokenKind

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

_TAKE: Final = """
    UPDATE discarded_tokens SET next_attempt_time = clock_timestamp() + $1::interval
    WHERE token_id IN (
        SELECT token_id FROM discarded_tokens
        WHERE next_attempt_time <= now() AND %s FOR UPDATE SKIP LOCKED)
    RETURNING token_id, tenant, authorization_id, owner, oauth_client, provider, kind, envelope,
        attempts, expire_time, clock_timestamp() AS read_time
"""
_TAKE_DUE: Final = _TAKE % f"token_id IN ({shared_out('discarded_tokens', 'token_id')})"
_TAKE_FOR: Final = _TAKE % (
    f"tenant = $2 AND authorization_id = $3 ORDER BY token_id LIMIT {limits.REVOCATION_BATCH_MAX}"
)
_INSERT: Final = """
    INSERT INTO discarded_tokens (
        token_id, tenant, authorization_id, owner, oauth_client, provider, kind, envelope,
        expire_time)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() + $9::interval)
"""
_HIDDEN: Final = timedelta(seconds=limits.REVOCATION_HIDE_S)


class PostgresDiscardedTokens:
    """ports.DiscardedTokens over two roles: the one of requests and the one of the worker."""

    def __init__(self, database_for_requests: Database, database_for_worker: Database) -> None:
        self._requests = database_for_requests
        self._worker = database_for_worker

    async def take_due(self, room: int, held: Mapping[str, int]) -> Sequence[DiscardedToken]:
        """Those whose time has come, shared out among tenants, skipping locked ones."""
        found = await self._worker.call(_TAKE_DUE, _HIDDEN, room, *holdings(held))
        return [_token_from(row) for row in found]

    async def take_for(self, tenant: str, authorization_id: uuid.UUID) -> Sequence[DiscardedToken]:
        """Those of one authorization that nobody has taken or postponed."""
        async with self._requests.tenant_transaction(tenant) as connection:
            found = await connection.fetch(_TAKE_FOR, _HIDDEN, tenant, authorization_id)
        return [_token_from(row) for row in found]

    async def finish(self, token: DiscardedToken, record: AuditRecord) -> None:
        """Delete the row with its envelope; one that is gone already is not recorded."""
        async with self._requests.tenant_transaction(token.tenant) as connection:
            deleted = await connection.fetchval(
                "DELETE FROM discarded_tokens WHERE tenant = $1 AND token_id = $2 RETURNING true",
                token.tenant,
                token.token_id,
            )
            if deleted:
                await insert_record(connection, record)

    async def postpone(self, token: DiscardedToken, delay_s: float) -> None:
        """Try again later, and count the attempt."""
        async with self._requests.tenant_transaction(token.tenant) as connection:
            await connection.execute(
                "UPDATE discarded_tokens SET attempts = attempts + 1,"
                " next_attempt_time = clock_timestamp() + $3::interval"
                " WHERE tenant = $1 AND token_id = $2",
                token.tenant,
                token.token_id,
                timedelta(seconds=delay_s),
            )


async def insert_discarded(connection: Connection, token: DiscardedToken) -> None:
    """Queue one token in the transaction that ends its authorization."""
    await connection.execute(
        _INSERT,
        token.token_id,
        token.tenant,
        token.authorization_id,
        token.owner,
        token.oauth_client,
        token.provider,
        token.kind.value,
        token.envelope,
        timedelta(seconds=limits.REVOCATION_KEEP_S),
    )


def _token_from(row: rows.Row) -> DiscardedToken:
    facts = {name: row[name] for name in DiscardedToken.__dataclass_fields__}
    return DiscardedToken(**{**facts, "kind": TokenKind(facts["kind"])})
