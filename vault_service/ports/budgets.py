"""What a provider allows, counted over all replicas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vault_service.domain.names import OAuthClientName
from vault_service.domain.rates import Rates


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of asking for permits. Without any, one of the delays is more than 0."""

    permits: int
    wait_s: float = 0.0  # until the budget has the next one
    held_s: float = 0.0  # until the provider wants to be asked again


class RateBudget(Protocol):
    """Requests of one OAuthClient, on the database's clock. STORE_UNREACHABLE."""

    async def take(self, client: OAuthClientName, rates: Rates, wanted: int) -> Taken:
        """Up to ``wanted`` permits, which is at least 1, for use at once. OAUTH_CLIENT_NOT_FOUND
        where there are rates to count by."""

    async def hold_back(self, client: OAuthClientName, hold_s: float) -> None:
        """No permits for so long, or for longer where that was asked before."""
