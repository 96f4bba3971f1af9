"""The table provider_budgets: requests that providers allow, counted over all replicas."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from vault_service.adapters.postgres.pool import Database
from vault_service.domain.names import OAuthClientName
from vault_service.domain.rates import Rates
from vault_service.ports.budgets import Taken

_TAKE: Final = "SELECT * FROM take_permits($1, $2, $3, $4, $5, $6, $7)"
_HELD: Final = """
    SELECT extract(epoch FROM held_until - clock_timestamp())::double precision
    FROM provider_budgets
    WHERE tenant = $1 AND oauth_client = $2 AND held_until > clock_timestamp()
"""
_HOLD: Final = """
    INSERT INTO provider_budgets AS b (tenant, oauth_client, held_until)
    VALUES ($1, $2, clock_timestamp() + $3::interval)
    ON CONFLICT (tenant, oauth_client) DO UPDATE SET
        held_until = greatest(b.held_until, clock_timestamp() + $3::interval)
"""


class PostgresRateBudget:
    """ports.RateBudget: one statement for a batch of permits."""

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

    async def hold_back(self, client: OAuthClientName, hold_s: float) -> None:
        """See ports.RateBudget."""
        async with self._database.tenant_transaction(client.tenant) as connection:
            hold = timedelta(seconds=hold_s)
            await connection.execute(_HOLD, client.tenant, client.oauth_client, hold)
