"""The table provider_budgets: requests that providers allow, counted over all replicas."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from vault_service.adapters.postgres.audit import insert_record, is_recorded
from vault_service.adapters.postgres.pool import Database
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.names import OAuthClientName
from vault_service.domain.rates import Rates
from vault_service.ports.budgets import ClientHold, Taken

_TAKE: Final = "SELECT * FROM take_permits($1, $2, $3, $4, $5, $6, $7)"
_HELD: Final = """
    SELECT extract(epoch FROM held_until - clock_timestamp())::double precision
    FROM provider_budgets
    WHERE tenant = $1 AND oauth_client = $2 AND held_until > clock_timestamp()
"""
_BEGIN: Final = """
    INSERT INTO provider_budgets AS b (tenant, oauth_client, held_until)
    VALUES ($1, $2, clock_timestamp() + $3::interval)
    ON CONFLICT (tenant, oauth_client) DO UPDATE SET held_until = excluded.held_until
    WHERE b.held_until <= clock_timestamp()
    RETURNING true
"""
_LENGTHEN: Final = """
    UPDATE provider_budgets SET held_until = clock_timestamp() + $3::interval
    WHERE tenant = $1 AND oauth_client = $2 AND held_until < clock_timestamp() + $3::interval
"""
_HOLDS: Final = """
    SELECT oauth_client, held_until,
        extract(epoch FROM held_until - clock_timestamp())::double precision AS left_s
    FROM provider_budgets
    WHERE tenant = $1 AND held_until > clock_timestamp() ORDER BY oauth_client LIMIT $2
"""
_CLEAR: Final = """
    UPDATE provider_budgets SET held_until = '-infinity'
    WHERE tenant = $1 AND oauth_client = $2 AND held_until > clock_timestamp()
"""


class PostgresRateBudget:
    """ports.RateBudget and ports.ClientHoldStore: one statement for a batch of permits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, client: OAuthClientName, rates: Rates, wanted: int) -> Taken:
        """See ports.RateBudget."""
        second, minute = rates.second, rates.minute
        async with self._database.tenant_transaction(client.tenant) as connection:
            if not rates.bounded:
                # Nothing is counted, so nothing is written.
                held_s = await connection.fetchval(_HELD, client.tenant, client.oauth_client)
                return Taken(0, held_s=held_s) if held_s else Taken(wanted)
            row = await connection.fetchrow(
                _TAKE, client.tenant, client.oauth_client, wanted,
                second.size, second.per_s, minute.size, minute.per_s,
            )  # fmt: skip
        assert row is not None, "the function returns one row"
        return Taken(row["permits"], row["wait_s"], row["held_s"])

    async def hold_back(self, client: OAuthClientName, hold_s: float, record: AuditRecord) -> None:
        """See ports.RateBudget."""
        how = (client.tenant, client.oauth_client, timedelta(seconds=hold_s))
        async with self._database.tenant_transaction(client.tenant) as connection:
            if not await connection.fetchval(_BEGIN, *how):
                await connection.execute(_LENGTHEN, *how)
            elif not await is_recorded(connection, record):
                await insert_record(connection, record)

    async def held_s(self, client: OAuthClientName) -> float:
        """See ports.RateBudget."""
        async with self._database.tenant_transaction(client.tenant) as connection:
            held_s = await connection.fetchval(_HELD, client.tenant, client.oauth_client)
        return float(held_s or 0.0)

    async def holds(self, tenant: str) -> Sequence[ClientHold]:
        """See ports.ClientHoldStore."""
        async with self._database.tenant_transaction(tenant) as connection:
            rows = await connection.fetch(_HOLDS, tenant, limits.PAGE_MAX)
        return [
            ClientHold(
                OAuthClientName(tenant, row["oauth_client"]), row["held_until"], row["left_s"]
            )
            for row in rows
        ]

    async def clear(self, client: OAuthClientName, record: AuditRecord) -> bool:
        """See ports.ClientHoldStore."""
        async with self._database.tenant_transaction(client.tenant) as connection:
            done = await connection.execute(_CLEAR, client.tenant, client.oauth_client)
            if done == "UPDATE 0":
                return False
            await insert_record(connection, record)
        return True
