"""What one process knows of how a provider and an OAuthClient are doing, and who is under way.

A lane is one OAuthClient's way to its provider: places, a share of the rate budget, a budget for
retries, and two breakers, of which the provider's is shared with its other OAuthClients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass, BreakerKey, Fault, TokenEndpointError
from vault_service.domain.audit import AuditRecord
from vault_service.domain.blame import names_the_registration, way_of
from vault_service.domain.breaker import Admission, Breaker, BreakerState
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.oauth import OAuthClient
from vault_service.domain.priority import Priority
from vault_service.domain.provider import Provider
from vault_service.domain.rate_holds import RateHolds
from vault_service.domain.rates import Rates
from vault_service.domain.retry_budget import RetryBudget
from vault_service.ports import Clock
from vault_service.ports.budgets import RateBudget
from vault_service.usecases.bulkhead import Bulkhead
from vault_service.usecases.consent_places import ConsentPace
from vault_service.usecases.rate_permits import RatePermits

Chance = Callable[[], float]
Held = Callable[[OAuthClientName, float, float | None], AuditRecord]
"""The record of a pause that begins: whose, how long, and what the last answer asked for."""


class ProviderWatch:
    """One provider's breaker. A profile that was put anew may have mended what was wrong."""

    def __init__(self, name: ProviderName, clock: Clock, chance: Chance) -> None:
        self.name = name
        self.breaker = Breaker(chance)
        self.tokens_at = float("-inf")  # when it last gave tokens; on the monotonic clock
        self._clock = clock
        self._revision = 0

    def notice(self, provider: Provider) -> None:
        """A profile that was changed since the last request counts from now on."""
        if provider.revision > self._revision:
            self._revision = provider.revision
            self.breaker.reset()

    def gave_tokens(self) -> None:
        """It is well, whatever is thought of it."""
        self.tokens_at = self._clock.monotonic()

    def state(self) -> BreakerState:
        """As of now."""
        return self.breaker.state(self._clock.monotonic())


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that the breakers let through: of the provider, the OAuthClient, and its pauses."""

    provider: Admission
    client: Admission
    pause: Admission
    asked: bool = True  # False: it went in any case


class Lane:
    """One OAuthClient's way."""

    def __init__(
        self,
        name: OAuthClientName,
        watch: ProviderWatch,
        parallel_max: int,
        budget: RateBudget,
        clock: Clock,
        chance: Chance,
        held: Held,
    ) -> None:
        self.name = name
        self._held = held
        self.watch = watch
        self.breaker = Breaker(chance, partial=False)
        self.bulkhead = Bulkhead(parallel_max, limits.PERMIT_QUEUE_MAX)
        self.permits = RatePermits(budget, name, clock, chance)
        self.retries = RetryBudget(clock.monotonic())
        self.holds = RateHolds()
        self.consents = ConsentPace()
        self.rates: Rates | None = None
        self.last_chances = asyncio.Lock()  # of grants in the last of their grace
        self._clock = clock
        self._revisions = (0, 0)  # of the OAuthClient and of the profile

    @property
    def idle(self) -> bool:
        """Whether nothing is lost when it is forgotten."""
        busy = self.bulkhead.inside or self.bulkhead.waiting or self.permits.held_s()
        busy = busy or self.last_chances.locked()
        return not busy and not self.is_down()

    def notice(self, client: OAuthClient, provider: Provider) -> None:
        """Whatever of the registration was changed since the last request counts from now on."""
        self.watch.notice(provider)
        # A refresh that was prepared before a change may come after one that was not.
        known = self._revisions
        newest = (max(client.revision, known[0]), max(provider.revision, known[1]))
        if newest != known:
            self._revisions = newest
            self.breaker.reset()
        self.rates = Rates.of(provider.profile)
        self.bulkhead.parallel_max = provider.profile.refresh_parallel_max
        self.bulkhead.full_retry_s = _drain_s(self.rates)

    def state(self) -> BreakerState:
        """Of the OAuthClient's own breaker, as of now."""
        return self.breaker.state(self._clock.monotonic())

    def is_down(self) -> bool:
        """Whether one of the breakers is not closed."""
        states = {self.state(), self.watch.state()}
        return states != {BreakerState.CLOSED}

    def place_of(self, key: Hashable, priority: Priority) -> Priority:
        """As what it waits for a place. A grant that fails while others succeed gets in like a
        refresh in doubt, whoever waits for it: where such requests hang they hold half of the
        places at most, and the others find one."""
        at_fault = self.watch.breaker.is_at_fault(key)
        return max(priority, Priority.RECOVERY) if at_fault else priority

    def refuse_while_down(self, key: Hashable) -> None:
        """PROVIDER_UNAVAILABLE or CLIENT_MISCONFIGURED while a breaker does not let this grant
        through, PROVIDER_RATE_LIMITED while the provider wants a pause."""
        now = self._clock.monotonic()
        if self.watch.breaker.wait_s(now, key) > 0:
            raise _provider_down(_pause_s(self.watch.breaker, now, key))
        if self.breaker.wait_s(now, key) > 0:
            raise _client_down(_pause_s(self.breaker, now, key))
        if self.permits.pause.wait_s(now, key) > 0:
            self.permits.refuse_while_held()
            raise _first_after_a_pause(_pause_s(self.permits.pause, now, key))

    def admit(self, key: Hashable) -> Admitted:
        """Through the breakers, and paid for where it is a retry. Raises as
        ``refuse_while_down``, and PROVIDER_UNAVAILABLE where retries are spent."""
        now = self._clock.monotonic()
        self.refuse_while_down(key)
        if not self.retries.admit(key, now):
            raise _too_many_retries(self.retries.wait_s())
        provider, client = self.watch.breaker.admit(now, key), self.breaker.admit(now, key)
        pause = self.permits.pause.admit(now, key)
        assert provider is not None, "no time has passed since it was asked"
        assert client is not None, "no time has passed since it was asked"
        assert pause is not None, "no time has passed since it was asked"
        return Admitted(provider, client, pause)

    def unasked(self) -> Admitted:
        """Past all, for a request that goes in any case."""
        pause = self.permits.pause.unasked()
        provider, client = self.watch.breaker.unasked(), self.breaker.unasked()
        return Admitted(provider, client, pause, asked=False)

    async def look_at_hold(self) -> None:
        """Whether the pause that the provider wants was lifted by somebody since the last look."""
        if await self.permits.was_lifted():
            self.holds.lifted()

    def take_back(self, admitted: Admitted, key: Hashable) -> None:
        """It was not sent after all: it says nothing and costs nothing."""
        self._says_nothing(admitted)
        if admitted.asked:
            self.retries.give_back(key)

    async def answered(
        self, admitted: Admitted, key: Hashable, error: TokenEndpointError | None
    ) -> None:
        """What the answer says of the provider and of our registration there."""
        if error is not None and not admitted.asked:
            # A code is what somebody's browser brought: its failure says nothing of anybody else.
            self._says_nothing(admitted)
            return
        now = self._clock.monotonic()
        judgement = None if error is None else error.judgement
        if error is not None and error.judgement.breaker is BreakerKey.PROVIDER:
            self.watch.breaker.failed(admitted.provider, now)
        else:
            self.watch.breaker.succeeded(admitted.provider, now)
        if judgement is None or judgement.fault is Fault.GRANT:
            # It looks at a token only after it has authenticated us (RFC 6749 §3.2.1, §5.2).
            self.breaker.succeeded(admitted.client, now)
        elif error is not None and judgement.breaker is BreakerKey.OAUTH_CLIENT:
            readily = names_the_registration(error)
            self.breaker.failed(admitted.client, now, way_of(error), readily=readily)
        else:
            self.breaker.unknown(admitted.client)
        if judgement is None or judgement.fault is not Fault.PROVIDER:
            self.retries.succeeded(key)
        else:
            self.retries.failed(key)
        await self._note_rate(admitted, key, error)

    async def _note_rate(
        self, admitted: Admitted, key: Hashable, error: TokenEndpointError | None
    ) -> None:
        now = self._clock.monotonic()
        if error is not None and error.answer_class is AnswerClass.RATE_LIMITED:
            first = admitted.pause.probe
            self.permits.pause.note_failed(key, now)
            hold_s = self.holds.limited(key, error.retry_after_s, now, first_after_hold=first)
            if hold_s is None:
                self.permits.pause.unknown(admitted.pause)
            else:
                asked_s = error.retry_after_s
                await self.permits.hold_back(hold_s, self._held(self.name, hold_s, asked_s))
        elif error is not None and error.judgement.fault is Fault.PROVIDER:
            self.permits.pause.unknown(admitted.pause)
        elif admitted.asked:  # what went all the same was not held back, and ends no pause
            self.permits.pause.succeeded(admitted.pause, now)
            self.holds.answered(key, now, first_after_hold=admitted.pause.probe)

    def _says_nothing(self, admitted: Admitted) -> None:
        self.watch.breaker.unknown(admitted.provider)
        self.breaker.unknown(admitted.client)
        self.permits.pause.unknown(admitted.pause)


@dataclass(frozen=True, slots=True)
class LaneView:
    """What metrics show of a lane: gauges, and counters since the process started."""

    client: OAuthClientName
    provider: ProviderName
    provider_state: BreakerState
    provider_opened: int
    client_state: BreakerState
    client_opened: int
    inside: int
    waiting: dict[Priority, int]
    waited: int
    refused_full: int
    permits_taken: int
    budget_statements: int
    held_s: float
    holds: int
    grants_held: int
    retries_refused: int


def view_of(lane: Lane) -> LaneView:
    """As of now."""
    return LaneView(
        client=lane.name,
        provider=lane.watch.name,
        provider_state=lane.watch.state(),
        provider_opened=lane.watch.breaker.opened,
        client_state=lane.state(),
        client_opened=lane.breaker.opened,
        inside=lane.bulkhead.inside,
        waiting={priority: lane.bulkhead.waiting_as(priority) for priority in Priority},
        waited=lane.bulkhead.waited,
        refused_full=lane.bulkhead.refused,
        permits_taken=lane.permits.taken,
        budget_statements=lane.permits.asked,
        held_s=lane.permits.held_s(),
        holds=lane.permits.held,
        grants_held=lane.holds.of_grants,
        retries_refused=lane.retries.refused,
    )


_NOT_ASKED: Final = {"breaker": "OPEN"}


def _drain_s(rates: Rates) -> float:
    """How long a full queue takes at least, by the provider's budget."""
    budgeted_s = limits.PERMIT_QUEUE_MAX / min(rates.second.per_s, rates.minute.per_s)
    return min(max(budgeted_s, limits.PERMIT_FULL_RETRY_S), limits.PERMIT_FULL_RETRY_MAX_S)


def _pause_s(breaker: Breaker, now: float, key: Hashable) -> float:
    """What RetryInfo says: a probe under way mostly ends long before its limit."""
    wait_s = breaker.wait_s(now, key)
    pause_s = min(wait_s, limits.RETRY_AFTER_S) if breaker.is_probed(now) else wait_s
    return max(pause_s, limits.RETRY_AFTER_MIN_S)


def _provider_down(retry_after_s: float) -> VaultError:
    return VaultError(
        Reason.PROVIDER_UNAVAILABLE,
        "the provider failed too often and is not asked for now; nothing is lost, try again",
        recorded=_NOT_ASKED,
        retry_after_s=retry_after_s,
    )


def _client_down(retry_after_s: float) -> VaultError:
    return VaultError(
        Reason.CLIENT_MISCONFIGURED,
        "the provider refuses our registration and is not asked for now; the platform team checks "
        "the OAuthClient, and what it changes counts at once",
        recorded=_NOT_ASKED,
        retry_after_s=retry_after_s,
    )


def _first_after_a_pause(retry_after_s: float) -> VaultError:
    return VaultError(
        Reason.PROVIDER_RATE_LIMITED,
        "the provider asked us to pause; one request goes first, try again after the delay",
        retry_after_s=retry_after_s,
    )


def _too_many_retries(retry_after_s: float) -> VaultError:
    return VaultError(
        Reason.PROVIDER_UNAVAILABLE,
        "the last request for this grant failed, and so did too many others; try again",
        recorded={"retry_budget": "spent"},
        retry_after_s=max(retry_after_s, limits.RETRY_AFTER_S),
    )
