"""What a provider allows, counted over all replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from vault_service.domain.audit import AuditRecord
from vault_service.domain.names import OAuthClientName
from vault_service.domain.rates import Rates


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of asking for permits. Without any, one of the delays is more than 0."""

    permits: int
    wait_s: float = 0.0  # until the budget has the next one
    held_s: float = 0.0  # until the provider wants to be asked again


@dataclass(frozen=True, slots=True)
class ClientHold:
    """A pause that a provider wants of one OAuthClient."""

    client: OAuthClientName
    until: datetime
    left_s: float  # on the database's clock


class RateBudget(Protocol):
    """Requests of one OAuthClient, on the database's clock. STORE_UNREACHABLE."""

    async def take(self, client: OAuthClientName, rates: Rates, wanted: int) -> Taken:
        """Up to ``wanted`` permits, which is at least 1, for use at once. OAUTH_CLIENT_NOT_FOUND
        where there are rates to count by."""

    async def hold_back(self, client: OAuthClientName, hold_s: float, record: AuditRecord) -> None:
        """No permits for so long, or for longer where that was asked before. With its record where
        there was no pause: one of several replicas begins it."""

    async def held_s(self, client: OAuthClientName) -> float:
        """How long there are none; 0: there are."""


class ClientHoldStore(Protocol):
    """The pauses of all OAuthClients. STORE_UNREACHABLE."""

    async def holds(self, tenant: str) -> Sequence[ClientHold]:
        """Those that last, by OAuthClient, ``limits.PAGE_MAX`` at most."""

    async def clear(self, client: OAuthClientName, record: AuditRecord) -> bool:
        """End one, with its record; False, and no record, where there was none."""
