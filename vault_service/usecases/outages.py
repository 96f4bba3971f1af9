"""May the provider be asked now? Asked before the lease, the attempt and the spool's slot.

A provider that is down is asked by one probe at a time, one that is slow holds a bounded number of
requests, one that has a rate budget gets no more than that from all replicas together, and one
that asks for a pause has it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextvars import Token
from types import TracebackType

from vault_service.domain import limits
from vault_service.domain.access import Call, Caller
from vault_service.domain.answers import TokenEndpointError
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.oauth import OAuthClient
from vault_service.domain.on_behalf import TENANT
from vault_service.domain.priority import Priority
from vault_service.domain.provider import Provider
from vault_service.ports import Clock, Entropy
from vault_service.ports.budgets import RateBudget
from vault_service.usecases.consent_places import ConsentPlaces
from vault_service.usecases.lanes import Admitted, Lane, LaneView, ProviderWatch, view_of
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.shares import Shares, overloaded


class Permit:
    """The right to one request now. Used in a ``with``: one that is left without ``report`` was
    not used, and says nothing of the provider.

    ``leave`` gives its places back, in the reverse order of entering.
    """

    def __init__(
        self,
        lane: Lane,
        key: Hashable,
        leave: list[Callable[[], None]],
        admitted: Admitted | None = None,
    ) -> None:
        self._lane = lane
        self._key = key
        self._places = leave
        self._admitted = admitted
        self._paid = False
        self._tokens: list[Token[str]] = []  # recovery enters what a refresh has entered

    def __enter__(self) -> Permit:
        self._tokens.append(TENANT.set(self._lane.name.tenant))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        TENANT.reset(self._tokens.pop())
        self.give_back()

    async def obtain(self, place: Priority, deadline: float) -> None:
        """With a place, past the breakers and the budgets; the place is left where that fails."""
        try:
            self._admitted = self._lane.admit(self._key)
            assert self._lane.rates is not None, "set when the registration was noticed"
            await self._lane.permits.take(self._lane.rates, place, deadline)
            self._paid = True
        except BaseException:
            self.give_back()
            raise

    def again(self) -> bool:
        """The request is sent once more, with another credential: the budget pays for that too."""
        self._lane.permits.owe()
        return True

    async def report(self, error: TokenEndpointError | None, *, leave: bool = True) -> None:
        """What came of the request, None for tokens; its place is free from now on, or, without
        ``leave``, when the ``with`` ends. A second report is of an answer that was late."""
        if error is None:
            self._lane.watch.gave_tokens()
        admitted, self._admitted = self._admitted, None
        if leave:
            self._leave()
        if admitted is not None:
            await self._lane.answered(admitted, self._key, error)

    def add(self, leave: Callable[[], None]) -> None:
        """One more place, which is given back before the others."""
        self._places.append(leave)

    def give_back(self) -> None:
        """It was not used: nothing is counted, nothing is paid."""
        admitted, self._admitted = self._admitted, None
        if admitted is not None:
            self._lane.take_back(admitted, self._key)
            if self._paid:
                self._lane.permits.give_back()
        self._leave()

    def _leave(self) -> None:
        while self._places:
            self._places.pop()()


class Outages:
    """One process's knowledge; the rate budget is common to all."""

    def __init__(
        self, budget: RateBudget, clock: Clock, entropy: Entropy, recorder: Recorder
    ) -> None:
        self._recorder = recorder
        self._budget = budget
        self._clock = clock
        self._entropy = entropy
        self._lanes: OrderedDict[OAuthClientName, Lane] = OrderedDict()
        self._watches: OrderedDict[ProviderName, ProviderWatch] = OrderedDict()
        self.refreshes = Shares(limits.REFRESH_PLACES_MAX)
        self.consents = ConsentPlaces(clock)

    async def permit(
        self,
        client: OAuthClient,
        provider: Provider,
        grant: Grant,
        priority: Priority,
        wait_s: float = limits.PERMIT_WAIT_S,
    ) -> Permit:
        """Waits for a place and a permit, ``wait_s`` at most.

        Raises PROVIDER_UNAVAILABLE and CLIENT_MISCONFIGURED at once while a breaker is open,
        PROVIDER_RATE_LIMITED, OVERLOADED, and STORE_UNREACHABLE; nothing was written then.
        """
        lane = self._lane(client, provider)
        await lane.look_at_hold()
        lane.refuse_while_down(grant.grant_id)
        deadline = self._clock.monotonic() + wait_s
        wanted = lane.place_of(grant.grant_id, priority)
        place = await lane.bulkhead.enter(grant.grant_id, wanted, wait_s)
        if place is None:
            raise _no_place()
        permit = Permit(lane, grant.grant_id, [lambda: lane.bulkhead.leave(place)])
        await self._share(permit, client.name.tenant, place, deadline)
        await permit.obtain(place, deadline)
        return permit

    async def _share(self, permit: Permit, tenant: str, place: Priority, deadline: float) -> None:
        """The tenant's part of the places that all tenants share; ``permit`` is left without."""
        try:
            left_s = deadline - self._clock.monotonic()
            if not await self.refreshes.enter(tenant, left_s, place):
                raise overloaded()
        except BaseException:
            permit.give_back()
            raise
        permit.add(lambda: self.refreshes.leave(tenant))

    async def consent(self, client: OAuthClient, provider: Provider, key: Hashable) -> Permit:
        """For the exchange of a code, before it is claimed: no breaker and no pause holds it back,
        because a person waits for it and a code does not keep. It has places and a part of the
        rate budget of its own, and only its success tells of the provider. OVERLOADED."""
        lane = self._lane(client, provider)
        leave = await self.consents.enter(client.name)
        try:
            assert lane.rates is not None, "set when the registration was noticed"
            delay_s = lane.consents.delay_s(lane.rates, self._clock.monotonic())
            if delay_s > limits.CONSENT_WAIT_S:
                raise overloaded()
            await asyncio.sleep(delay_s)
        except BaseException:
            leave()
            raise
        lane.permits.owe()
        return Permit(lane, key, [leave], lane.unasked())

    async def last_chance(
        self, client: OAuthClient, provider: Provider, key: Hashable, wait_s: float
    ) -> Permit | None:
        """For a refresh token that dies soon: past the breakers and the queue, as a probe, and the
        budget pays later. One at a time of an OAuthClient; the others wait their turn, since all
        their graces may end at once. None where none came within ``wait_s``."""
        lane = self._lane(client, provider)
        try:
            async with asyncio.timeout(wait_s):
                await lane.last_chances.acquire()
        except TimeoutError:
            return None
        lane.permits.owe()
        return Permit(lane, key, [lane.last_chances.release], lane.unasked())

    def answering(self, now: float) -> list[ProviderName]:
        """Providers that gave tokens to this process a moment before ``now`` (monotonic)."""
        since = now - 2 * limits.IN_DOUBT_RETRY_S
        return [name for name, watch in self._watches.items() if watch.tokens_at > since]

    def hurry(self, grant: Grant) -> None:
        """A caller waits for this grant by now, whoever began its refresh."""
        lane = self._lanes.get(OAuthClientName(grant.tenant, grant.oauth_client))
        if lane is not None:
            place = lane.place_of(grant.grant_id, Priority.CALLER)
            lane.bulkhead.promote(grant.grant_id, place)

    def is_down(self, grant: Grant) -> bool:
        """Whether this process knows that its provider or OAuthClient cannot be asked now."""
        lane = self._lanes.get(OAuthClientName(grant.tenant, grant.oauth_client))
        if lane is not None:
            return lane.is_down()
        return False

    def view(self) -> list[LaneView]:
        """All lanes, for metrics."""
        return [view_of(lane) for lane in self._lanes.values()]

    def _lane(self, client: OAuthClient, provider: Provider) -> Lane:
        lane = self._lanes.get(client.name)
        if lane is None or lane.watch.name != provider.name:
            lane = self._new_lane(client, provider)
        self._lanes.move_to_end(client.name)
        lane.notice(client, provider)
        return lane

    def _new_lane(self, client: OAuthClient, provider: Provider) -> Lane:
        self._forget_idle()
        watch = self._watches.get(provider.name)
        if watch is None:
            watch = ProviderWatch(provider.name, self._clock, self._chance)
            self._watches[provider.name] = watch
        parallel_max = provider.profile.refresh_parallel_max
        lane = Lane(
            client.name, watch, parallel_max, self._budget, self._clock, self._chance, self._held
        )
        self._lanes[client.name] = lane
        return lane

    def _forget_idle(self) -> None:
        """The one that was asked longest ago, where there are too many; what is under way in a busy
        one ends with it."""
        if len(self._lanes) < limits.OUTAGE_LANES_MAX:
            return
        idle = (name for name, lane in self._lanes.items() if lane.idle)
        del self._lanes[next(idle, next(iter(self._lanes)))]
        used = {lane.watch.name for lane in self._lanes.values()}
        for name in [name for name in self._watches if name not in used]:
            del self._watches[name]

    def _held(self, client: OAuthClientName, hold_s: float, asked_s: float | None) -> AuditRecord:
        """No caller's doing: several grants were told to wait."""
        request_id = self._entropy.uuid7().hex
        call = Call(Caller("", ""), "worker/ClientHold", request_id, "", self._clock.monotonic())
        asked = "" if asked_s is None else f"{asked_s:.0f}"
        detail = {"hold_s": f"{hold_s:.0f}", "retry_after_s": asked}
        action = AuditAction.CLIENT_HOLD_BEGUN
        return self._recorder.done(call, action, client.tenant, str(client), detail=detail)

    def _chance(self) -> float:
        return int.from_bytes(self._entropy.token(4), "big") / 2**32


def _no_place() -> VaultError:
    return VaultError(
        Reason.PROVIDER_UNAVAILABLE,
        "the provider is slow, and others were before; try again after the delay",
        retry_after_s=limits.RETRY_AFTER_S,
    )
