"""Places for the exchanges of codes, apart from those of refreshes.

Anybody with a browser can begin a consent and bring a made-up code. So exchanges have places,
connections and a part of the rate budget of their own: for each OAuthClient, and for each tenant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vault_service.domain import limits
from vault_service.domain.names import OAuthClientName
from vault_service.domain.rates import Rates
from vault_service.ports import Clock
from vault_service.usecases.shares import Shares, overloaded

_UNBOUNDED = 1_000_000  # places of all OAuthClients together: the tenants' shares bound them


@dataclass(slots=True)
class ConsentPace:
    """One OAuthClient's part of the rate budget in one process: a bucket of moments."""

    next: float = 0.0

    def delay_s(self, rates: Rates, now: float) -> float:
        """How long the next exchange must wait, as if it were sent then."""
        if not rates.bounded:
            return 0.0
        share = limits.CONSENT_SHARE
        gap_s = 1.0 / (min(rates.second.per_s, rates.minute.per_s) * share)
        burst_s = gap_s * (limits.CONSENT_BURST - 1)
        begin = max(now - burst_s, self.next)
        if begin - now <= limits.CONSENT_WAIT_S:
            self.next = begin + gap_s
        return max(0.0, begin - now)


class ConsentPlaces:
    """``enter`` before a code is claimed, and ``leave`` when its exchange has ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of_clients = Shares(_UNBOUNDED, limits.CONSENT_PARALLEL_MAX, limits.CONSENT_QUEUE_MAX)
        self._of_tenants = Shares(limits.CONSENT_PLACES_MAX)

    @property
    def inside(self) -> int:
        """Exchanges under way."""
        return self._of_clients.inside

    @property
    def waiting(self) -> int:
        """How many wait for a place now."""
        return self._of_clients.waiting + self._of_tenants.waiting

    async def enter(self, client: OAuthClientName) -> Callable[[], None]:
        """What gives the place back. OVERLOADED where there is none in time."""
        give_up = self._clock.monotonic() + limits.CONSENT_WAIT_S
        key = str(client)
        if not await self._of_clients.enter(key, limits.CONSENT_WAIT_S):
            raise overloaded()
        try:
            left_s = give_up - self._clock.monotonic()
            if not await self._of_tenants.enter(client.tenant, left_s):
                raise overloaded()
        except BaseException:
            self._of_clients.leave(key)
            raise
        return lambda: self._leave(client)

    def _leave(self, client: OAuthClientName) -> None:
        self._of_tenants.leave(client.tenant)
        self._of_clients.leave(str(client))
