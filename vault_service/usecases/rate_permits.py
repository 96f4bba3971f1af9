"""This process's share of one OAuthClient's rate budget.

Who needs a permit takes one that is left, or asks the budget for all who wait: one statement for
many requests. A provider's Retry-After stops every replica, each within ``limits.BUDGET_LOOK_S``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.breaker import Breaker, BreakerState
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName
from vault_service.domain.priority import Priority
from vault_service.domain.rates import Rates
from vault_service.ports import Clock
from vault_service.ports.budgets import RateBudget
from vault_service.usecases.bulkhead import Bulkhead

_HOLD_JITTER = 0.1  # of the time held back, at most
_HOLD_JITTER_MAX_S = 5.0


class RatePermits:
    """``take`` one before each request; ``hold_back`` when the provider asks for it."""

    def __init__(
        self, budget: RateBudget, client: OAuthClientName, clock: Clock, chance: Callable[[], float]
    ) -> None:
        self._budget = budget
        self._client = client
        self._clock = clock
        self._chance = chance
        # Open while the provider wants a pause. When that is over one request goes first: where
        # it is told to pause again, the others have not been sent.
        self.pause = Breaker(chance)
        self._permits = 0
        self._good_until = 0.0  # of the permits; on the monotonic clock, as all of these
        self._next_look = 0.0  # without a budget: when to look for a Retry-After of another replica
        self._owed = 0
        self._dues = 0.0  # of what the budget gave: how much of the debt may be paid from it
        self._hold_end = 0.0  # as the database has it, without jitter
        self._unwritten: AuditRecord | None = None  # of a hold that the database lacks
        self._next_hold_look = 0.0
        self._waiting = 0
        self._turns = Bulkhead(parallel_max=1)  # the more urgent asks first
        self.taken = 0  # permits that the budget gave, in all
        self.asked = 0  # statements that it took
        self.held = 0  # how often the provider wanted a pause

    @property
    def waiting(self) -> int:
        """How many wait for a permit now."""
        return self._waiting

    def held_s(self) -> float:
        """How long the provider wants no requests, as far as this process knows."""
        now = self._clock.monotonic()
        held = self.pause.state(now) is BreakerState.OPEN
        return self.pause.wait_s(now) if held else 0.0

    def owe(self) -> None:
        """A request went without a permit: a part of the next ones from the budget pays for it,
        so that those who wait for theirs get some as well."""
        self._owed = min(self._owed + 1, limits.RATE_DEBT_MAX)

    def give_back(self) -> None:
        """A permit was not used: it is good for another as long as it would have been."""
        self._permits += 1

    async def take(self, rates: Rates, priority: Priority, deadline: float) -> None:
        """One permit. PROVIDER_RATE_LIMITED where none is to be had before ``deadline`` (monotonic)
        or the provider asked for a pause; what the budget raises."""
        self._waiting += 1
        try:
            while not self._ready(rates):
                if self._clock.monotonic() > deadline:
                    raise _limited("no permit came in time", limits.RETRY_AFTER_S)
                if await self._ask(rates, priority, deadline):
                    self.refuse_while_held()
                    break
        finally:
            self._waiting -= 1
        if rates.bounded:
            self._permits -= 1

    def refuse_while_held(self) -> None:
        """PROVIDER_RATE_LIMITED while the provider wants a pause, whoever asks."""
        held_s = self.held_s()
        if held_s > 0:
            raise _limited("the provider asked us to pause", held_s)

    async def hold_back(self, hold_s: float, record: AuditRecord) -> None:
        """No requests for so long: on all replicas, and here even where the database is away. The
        record is written with the pause."""
        known = self.held_s() >= hold_s
        self._hold(hold_s)
        if not known:
            self.held += 1
            self._unwritten = record
            await self._write_hold(record)

    async def was_lifted(self) -> bool:
        """Whether an operator ended the pause; it ends here too then. Looked up once in
        ``limits.BUDGET_LOOK_S``; a database that is away lifts nothing."""
        now = self._clock.monotonic()
        if self.held_s() <= 0 or now < self._next_hold_look:
            return False
        self._next_hold_look = now + limits.BUDGET_LOOK_S
        if self._unwritten is not None:
            await self._write_hold(self._unwritten)
            return False
        if self._hold_end <= now + limits.BUDGET_LOOK_S:
            return False  # it ends by itself, and then one request goes first
        try:
            lifted = await self._budget.held_s(self._client) <= 0
        except VaultError:
            return False
        if lifted:
            self.pause.reset()
        return lifted

    def _hold(self, hold_s: float) -> None:
        now = self._clock.monotonic()
        self._hold_end = max(self._hold_end, now + hold_s)
        self.pause.open_until(now + self._jittered(hold_s))

    async def _write_hold(self, record: AuditRecord) -> None:
        left_s = self._hold_end - self._clock.monotonic()
        with contextlib.suppress(VaultError):
            await self._budget.hold_back(self._client, left_s, record)
            self._unwritten = None
            self._next_hold_look = self._clock.monotonic() + limits.BUDGET_LOOK_S

    def _ready(self, rates: Rates) -> bool:
        self.refuse_while_held()
        now = self._clock.monotonic()
        if not rates.bounded:
            return now < self._next_look
        return self._permits > 0 and now < self._good_until

    async def _ask(self, rates: Rates, priority: Priority, deadline: float) -> bool:
        """One at a time asks for all; the others find what came when it is their turn. Whether the
        caller has leave to go: also where the answer took so long that its permits are too old
        for anyone else, as nobody would ever go with a slow database."""
        left_s = deadline - self._clock.monotonic()
        turn = await self._turns.enter(object(), priority, left_s)
        if turn is None:
            raise _limited("the provider's rate budget is spent", limits.RETRY_AFTER_S)
        try:
            while not self._ready(rates):
                if await self._ask_budget(rates, deadline):
                    return True
                # A caller that waited takes the permit: background work would cost it a turn.
                if any(self._turns.waiting_as(other) for other in Priority if other < priority):
                    return False
            return True
        finally:
            self._turns.leave(turn)

    async def _ask_budget(self, rates: Rates, deadline: float) -> bool:
        wanted = min(max(1, self._waiting) + self._owed, limits.PERMIT_BATCH_MAX)
        now = self._clock.monotonic()
        taken = await self._budget.take(self._client, rates, wanted)
        self.asked += 1
        if taken.held_s > 0:
            self._hold(taken.held_s)
            return False
        self._next_look = now + limits.BUDGET_LOOK_S
        if not rates.bounded:
            self._owed = 0
            return True
        self.taken += taken.permits
        self._dues += taken.permits * limits.CONSENT_SHARE
        paid = min(self._owed, int(self._dues))
        self._owed -= paid
        self._dues = min(self._dues - paid, 1.0)
        self._permits = taken.permits - paid
        self._good_until = now + limits.PERMIT_LIFE_S
        if self._permits > 0:
            return True
        await self._wait(max(taken.wait_s, limits.LEASE_POLL_S), deadline)
        return False

    async def _wait(self, wait_s: float, deadline: float) -> None:
        if self._clock.monotonic() + wait_s > deadline:
            raise _limited("the provider's rate budget is spent", wait_s)
        await asyncio.sleep(wait_s)

    def _jittered(self, hold_s: float) -> float:
        # Not all replicas come back in the same moment.
        return hold_s + min(hold_s * _HOLD_JITTER, _HOLD_JITTER_MAX_S) * self._chance()


def _limited(why: str, retry_after_s: float) -> VaultError:
    return VaultError(
        Reason.PROVIDER_RATE_LIMITED,
        f"{why}; try again after the delay",
        retry_after_s=max(retry_after_s, limits.RETRY_AFTER_MIN_S),
    )
