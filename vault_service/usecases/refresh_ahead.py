"""Refreshes what is due before anybody asks: a batch of the due index, each row judged, given a
slot of its OAuthClient's budget, and refreshed as for a caller.

Callers go first: they take places away from this work, which keeps one, and half of a provider's
budget is theirs alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import VaultError
from vault_service.domain.grant import Grant, GrantState
from vault_service.domain.names import OAuthClientName
from vault_service.domain.pacing import Slots, Wanted, gap_of
from vault_service.domain.schedule import (
    Due,
    DueGrant,
    Scheduling,
    Step,
    decide,
    keep_alive_time,
    retry_pause_s,
)
from vault_service.ports import Ask, Clock, GrantStore, Look, RefreshSchedule
from vault_service.usecases.flights import Flights
from vault_service.usecases.recorder import Recorder

Refresh = Callable[[Call, Grant], Awaitable[None]]


@dataclass(slots=True)
class AheadCounts:
    """Since the process started, for metrics."""

    taken: int = 0  # rows that were due
    put_off: int = 0  # of them, to a later slot
    left_to_callers: int = 0  # of them: the budget has no slot before their token ends
    refreshed: int = 0
    failed: int = 0
    warned: int = 0


@dataclass(frozen=True, slots=True)
class _Wish:
    due: DueGrant
    step: Step


class RefreshAhead:
    """One tick; its refreshes go on when it has returned."""

    def __init__(
        self,
        *,
        schedule: RefreshSchedule,
        grants: GrantStore,
        refresh: Refresh,
        recorder: Recorder,
        clock: Clock,
        flights: Flights,
        scheduling: Scheduling,
    ) -> None:
        self._schedule = schedule
        self._grants = grants
        self._refresh = refresh
        self._recorder = recorder
        self._clock = clock
        self._flights = flights
        self._scheduling = scheduling
        self._tasks: set[asyncio.Task[None]] = set()
        self._by_client: Counter[OAuthClientName] = Counter()
        self._turns: dict[OAuthClientName, asyncio.Semaphore] = {}
        self._under_way = 0
        self._faults: list[BaseException] = []
        self._stopped = False
        self.counts = AheadCounts()

    @property
    def running(self) -> int:
        """Refreshes that were begun or have a slot."""
        return len(self._tasks)

    async def __call__(self, call: Call) -> bool:
        """Whether more is due and can be taken at once. Raises what the store does; rows that were
        taken then come due again when their lease ends."""
        if self._faults:
            raise self._faults.pop()
        if self._stopped or self._free() == 0:
            return False
        taken = await self._schedule.take(self._scheduling.batch, limits.SCHEDULER_LEASE_S)
        taken_at = self._clock.monotonic()
        self.counts.taken += len(taken)
        steps = [_Wish(due, decide(due, self._scheduling.in_use_s)) for due in taken]
        looks = [Look(w.due, w.step.look_time) for w in steps if w.step.refresh is None]
        wishes = [w for w in steps if w.step.refresh is not None and not self._in_flight(w.due)]
        if wishes:
            looks += await self._share_out(call, wishes, taken_at)
        if looks:
            await self._schedule.put_off(looks)
        for wish in steps:
            if wish.step.warn and wish.step.refresh is None:
                await self._warn(call, wish.due)
        return len(taken) == self._scheduling.batch

    async def stop(self) -> None:
        """Begin nothing more. Refreshes under way are the flights' to end; what has a slot but has
        not begun comes due again when its lease ends."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _in_flight(self, due: DueGrant) -> bool:
        # A caller's: it gives the row its next moment, or leaves it to come again.
        return self._flights.holds(("refresh", due.tenant, due.grant_id))

    def _free(self) -> int:
        return max(0, limits.SCHEDULER_SLOTS_MAX - len(self._tasks))

    def _places(self) -> int:
        callers = max(0, len(self._flights) - self._under_way)
        return max(1, self._scheduling.parallel - callers)

    async def _share_out(self, call: Call, wishes: Sequence[_Wish], taken_at: float) -> list[Look]:
        by_client: dict[OAuthClientName, list[_Wish]] = {}
        for wish in wishes:
            by_client.setdefault(wish.due.client, []).append(wish)
        slots = await self._schedule.plan(self._asked(by_client))
        looks = []
        for client, given in slots.items():
            theirs = by_client[client]
            for position, moment in given.run.items():
                self._start(call, theirs[position], moment, taken_at)
            looks += self._put_off(theirs, given)
        return looks

    def _asked(
        self, by_client: Mapping[OAuthClientName, Sequence[_Wish]]
    ) -> dict[OAuthClientName, Ask]:
        free, asked = self._free(), {}
        for client, wishes in by_client.items():
            theirs = limits.SCHEDULER_CLIENT_SLOTS_MAX - self._by_client[client]
            run_max = max(0, min(free, theirs))
            due = wishes[0].due
            asked[client] = Ask([_wanted(wish) for wish in wishes], self._gap(due), run_max)
            free -= min(run_max, len(wishes))
        return asked

    def _gap(self, due: DueGrant) -> timedelta:
        return gap_of(due.rate_per_s, due.rate_per_min, self._scheduling.rate_per_s)

    def _put_off(self, wishes: Sequence[_Wish], slots: Slots) -> list[Look]:
        self.counts.put_off += len(slots.later)
        self.counts.left_to_callers += len(slots.left)
        looks = [Look(wishes[position].due, at, True) for position, at in slots.later.items()]
        return looks + [Look(due, _idle_look(due)) for due in (wishes[p].due for p in slots.left)]

    def _start(self, call: Call, wish: _Wish, slot: datetime, taken_at: float) -> None:
        client = wish.due.client
        task = asyncio.create_task(self._run(call, wish, slot, taken_at))
        self._tasks.add(task)
        self._by_client[client] += 1

        def ended(_: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]
                self._turns.pop(client, None)
            fault = None if task.cancelled() else task.exception()
            if fault is not None:
                self._faults = [fault]

        task.add_done_callback(ended)

    async def _run(self, call: Call, wish: _Wish, slot: datetime, taken_at: float) -> None:
        due = wish.due
        await asyncio.sleep((slot - self._now(due, taken_at)).total_seconds())
        async with self._turn(due.client):
            # The flights of callers tell nobody when they end.
            while self._under_way >= self._places():  # noqa: ASYNC110
                await asyncio.sleep(limits.LEASE_POLL_S)
            now = self._now(due, taken_at)
            if now - slot <= _LATE:
                await self._refresh_one(call, wish, taken_at)
                return
        self.counts.put_off += 1
        await self._schedule.put_off([Look(due, now)])

    def _turn(self, client: OAuthClientName) -> asyncio.Semaphore:
        if client not in self._turns:
            self._turns[client] = asyncio.Semaphore(limits.SCHEDULER_CLIENT_PARALLEL_MAX)
        return self._turns[client]

    async def _refresh_one(self, call: Call, wish: _Wish, taken_at: float) -> None:
        due = wish.due
        self._under_way += 1
        try:
            grant = await self._grants.get(due.name)
            if grant is None or not _stands(grant, due):
                return  # whoever moved it has given it its next due time
            await self._refresh(call, grant)
            self.counts.refreshed += 1
        except VaultError as error:
            self.counts.failed += 1
            pause_s = max(retry_pause_s(due.failures, due.grant_id), error.retry_after_s or 0.0)
            again = self._now(due, taken_at) + timedelta(seconds=pause_s)
            await self._put_off_failed(call, wish, again)
        finally:
            self._under_way -= 1

    async def _put_off_failed(self, call: Call, wish: _Wish, again: datetime) -> None:
        await self._schedule.put_off([Look(wish.due, again)])
        if wish.step.warn:
            await self._warn(call, wish.due)

    async def _warn(self, call: Call, due: DueGrant) -> None:
        facts = {"generation": str(due.generation), "failures": str(due.failures)}
        if due.has_refresh_token:
            dies = due.refresh_time + timedelta(seconds=due.max_idle_s)
        else:
            assert due.access_expire_time is not None, "decide asked for it"
            dies = due.access_expire_time
        facts |= {"expire_time": dies.isoformat()}
        record = self._recorder.done(
            call, AuditAction.GRANT_EXPIRING_SOON, due.tenant, str(due.name), detail=facts
        )
        self.counts.warned += await self._schedule.warn(due, record)

    def _now(self, due: DueGrant, taken_at: float) -> datetime:
        """The database's clock."""
        return due.read_time + timedelta(seconds=self._clock.monotonic() - taken_at)


# What waited while the process, the database or the provider stood still is not sent in one moment.
_LATE = timedelta(seconds=limits.SCHEDULER_LATE_S)


def _wanted(wish: _Wish) -> Wanted:
    ahead = wish.step.refresh is Due.AHEAD
    return Wanted(wish.due.planned, wish.due.access_expire_time if ahead else None)


def _idle_look(due: DueGrant) -> datetime | None:
    """Of what is left to callers: when it must be kept alive, not before its token's end, since
    until then it would be left again."""
    if not due.max_idle_s:
        return None
    alive = keep_alive_time(due.refresh_time, due.max_idle_s, due.grant_id, due.generation)
    return max(alive, due.access_expire_time or alive)


def _stands(grant: Grant, due: DueGrant) -> bool:
    return grant.generation == due.generation and grant.state is GrantState.ACTIVE
