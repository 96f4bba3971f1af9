"""A process's share of a rate budget, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.fakes.budgets import FakeRateBudget
from tests.fakes.stores import FakeStores
from tests.support.house import refused
from tests.support.samples import a_profile, a_record, an_oauth_client
from tests.support.virtual_time import LoopClock, run_virtual
from vault_service.domain import limits
from vault_service.domain.errors import Reason
from vault_service.domain.names import OAuthClientName
from vault_service.domain.priority import Priority
from vault_service.domain.rates import Rates
from vault_service.ports.budgets import Taken
from vault_service.usecases.rate_permits import RatePermits

CLIENT = an_oauth_client()
UNBOUNDED = Rates.of(a_profile())
FIVE = Rates.of(a_profile(rate_per_s=5))  # one at once, then five a second


class Replicas:
    """Processes that share one budget."""

    def __init__(self, clock: LoopClock, count: int) -> None:
        self.clock = clock
        self.stores = FakeStores(clock, ["acme"])
        self.stores.tables.oauth_clients[CLIENT.name] = CLIENT
        self.budget: FakeRateBudget = self.stores.budget
        self.processes: Sequence[RatePermits] = [
            RatePermits(self.budget, CLIENT.name, clock, lambda: 0.5) for _ in range(count)
        ]

    async def take(
        self,
        process: RatePermits,
        rates: Rates,
        priority: Priority = Priority.CALLER,
        within_s: float = 30.0,
    ) -> float:
        """When the permit came."""
        await process.take(rates, priority, self.clock.monotonic() + within_s)
        return self.clock.monotonic()


def test_replicas_share_the_rate() -> None:
    """Whatever many replicas want together, no second has more than the provider allows, and what
    it allows is used."""

    async def main(clock: LoopClock) -> None:
        replicas = Replicas(clock, 4)
        takes = (replicas.take(one, FIVE) for one in replicas.processes for _ in range(25))
        moments = sorted(await asyncio.gather(*takes))
        assert 19 <= moments[-1] <= 25
        for moment in moments:
            assert sum(moment <= one < moment + 0.999 for one in moments) <= 5

    run_virtual(main)


def test_many_permits_cost_one_statement() -> None:
    """The first takes its own at once; who wait meanwhile are served by one statement together."""

    async def main(clock: LoopClock) -> None:
        replicas = Replicas(clock, 1)
        (process,) = replicas.processes
        rates = Rates.of(a_profile(rate_per_s=500))
        await asyncio.gather(*(replicas.take(process, rates) for _ in range(64)))
        assert (process.taken, process.asked) == (64, 2)

    run_virtual(main)


def test_without_a_budget_it_is_asked_once_a_second() -> None:
    """Where there is no rate, only another replica's pause is looked for, once a second."""

    async def main(clock: LoopClock) -> None:
        replicas = Replicas(clock, 1)
        (process,) = replicas.processes
        for _ in range(1_000):
            await replicas.take(process, UNBOUNDED)
            await asyncio.sleep(0.01)
        assert 10 <= process.asked <= 11

    run_virtual(main)


def test_callers_get_permits_first() -> None:
    """Background work that waits for permits lets a caller who comes later go before: the next
    permit is the caller's."""

    async def main(clock: LoopClock) -> None:
        replicas = Replicas(clock, 1)
        (process,) = replicas.processes
        background = [
            asyncio.create_task(replicas.take(process, FIVE, Priority.BACKGROUND)) for _ in range(8)
        ]
        await asyncio.sleep(0.05)
        caller = await replicas.take(process, FIVE)
        assert sum(task.done() and task.result() < caller for task in background) == 1
        await asyncio.gather(*background)

    run_virtual(main)


def test_callers_wait_for_few_permits_of_other_replicas() -> None:
    """A caller who waited for a permit takes it, and does not leave it to background work of its
    own replica while the other one takes the next."""

    async def main(clock: LoopClock) -> None:
        replicas = Replicas(clock, 2)
        background = [
            asyncio.create_task(replicas.take(process, FIVE, Priority.BACKGROUND))
            for process in replicas.processes
            for _ in range(40)
        ]
        missed = []
        for process in [*replicas.processes] * 3:
            await asyncio.sleep(0.13)
            began = clock.monotonic()
            came = await replicas.take(process, FIVE)
            others = [task.result() for task in background if task.done()]
            missed.append(sum(began < moment < came for moment in others))
        assert max(missed) <= 2
        await asyncio.gather(*background)

    run_virtual(main)


def test_who_cannot_have_one_in_time_is_told_when() -> None:
    """A deadline before the next permit is refused at once, with the time that it takes."""

    async def main(clock: LoopClock) -> None:
        replicas = Replicas(clock, 1)
        (process,) = replicas.processes
        rates = Rates.of(a_profile(rate_per_min=2))
        await replicas.take(process, rates)
        error = await refused(
            Reason.PROVIDER_RATE_LIMITED, replicas.take(process, rates, within_s=5.0)
        )
        assert clock.monotonic() == 0
        assert error.retry_after_s is not None
        assert 5 < error.retry_after_s <= 60
        await asyncio.sleep(error.retry_after_s)
        await replicas.take(process, rates)

    run_virtual(main)


def test_a_pause_reaches_every_replica() -> None:
    """A pause that one replica was asked for holds the others within a second, until a little
    after its end; a database that is away does not lift it where it is known."""

    async def main(clock: LoopClock) -> None:
        replicas = Replicas(clock, 2)
        first, second = replicas.processes
        await replicas.take(second, UNBOUNDED)
        await first.hold_back(100.0, a_record())
        replicas.stores.unreachable = True
        error = await refused(Reason.PROVIDER_RATE_LIMITED, replicas.take(first, UNBOUNDED))
        assert error.retry_after_s == 102.5
        replicas.stores.unreachable = False
        await asyncio.sleep(limits.BUDGET_LOOK_S)
        error = await refused(Reason.PROVIDER_RATE_LIMITED, replicas.take(second, UNBOUNDED))
        assert error.retry_after_s == 99 + 2.5
        await asyncio.sleep(102)
        for process in replicas.processes:
            await replicas.take(process, UNBOUNDED)
        assert (first.held, second.held) == (1, 0)

    run_virtual(main)


def test_a_pause_in_a_database_that_is_away() -> None:
    """Where the pause cannot be written, this replica keeps it all the same, and writes it when the
    database is back."""

    async def main(clock: LoopClock) -> None:
        replicas = Replicas(clock, 1)
        (process,) = replicas.processes
        replicas.stores.unreachable = True
        await process.hold_back(5.0, a_record())
        assert 5 <= process.held_s() <= 5.5
        await refused(Reason.PROVIDER_RATE_LIMITED, replicas.take(process, UNBOUNDED))
        assert not await process.was_lifted()
        await asyncio.sleep(limits.BUDGET_LOOK_S)
        replicas.stores.unreachable = False
        assert not await process.was_lifted()
        assert await replicas.budget.held_s(CLIENT.name) == 4.0

    run_virtual(main)


def test_a_pause_that_was_lifted() -> None:
    """Where an operator ends a pause, every replica goes on within a second; one that ends by
    itself is no such end."""

    async def main(clock: LoopClock) -> None:
        replicas = Replicas(clock, 2)
        first, second = replicas.processes
        await first.hold_back(100.0, a_record())
        await refused(Reason.PROVIDER_RATE_LIMITED, replicas.take(second, UNBOUNDED))
        assert not await second.was_lifted()
        replicas.stores.tables.budgets[CLIENT.name].held_until = clock.monotonic()
        await asyncio.sleep(limits.BUDGET_LOOK_S)
        assert [await one.was_lifted() for one in replicas.processes] == [True, True]
        for process in replicas.processes:
            await replicas.take(process, UNBOUNDED)
        await first.hold_back(10.0, a_record())
        await asyncio.sleep(10.2)
        assert not await first.was_lifted()
        assert first.held_s() > 0

    run_virtual(main)


def test_what_went_without_a_permit_is_paid_for() -> None:
    """A request that could not wait takes its permit from those that come after it: half of them
    at most, and of no more than 64."""

    async def main(clock: LoopClock) -> None:
        replicas = Replicas(clock, 1)
        (process,) = replicas.processes
        for _ in range(5):
            process.owe()
        assert await replicas.take(process, FIVE) == 0
        for _ in range(8):
            await replicas.take(process, FIVE)
        assert 2.5 <= clock.monotonic() <= 3.0
        for _ in range(10_000):
            process.owe()
        begin = clock.monotonic()
        assert await replicas.take(process, FIVE) - begin <= 0.5
        for _ in range(200):
            await replicas.take(process, FIVE)
        assert clock.monotonic() - begin <= 60.0

    run_virtual(main)


def test_a_permit_that_was_not_used() -> None:
    """It serves the next request for a second, then it is lost."""

    async def main(clock: LoopClock) -> None:
        replicas = Replicas(clock, 1)
        (process,) = replicas.processes
        rates = Rates.of(a_profile(rate_per_min=2))
        await replicas.take(process, rates)
        process.give_back()
        assert await replicas.take(process, rates, within_s=0.5) == 0
        process.give_back()
        await asyncio.sleep(limits.PERMIT_LIFE_S)
        await refused(Reason.PROVIDER_RATE_LIMITED, replicas.take(process, rates, within_s=5.0))

    run_virtual(main)


def test_a_database_slower_than_a_permit_lives() -> None:
    """A caller may use a permit whose statement took longer than permits live. A caller whose
    deadline has passed asks no more."""

    class Slow(FakeRateBudget):
        async def take(self, client: OAuthClientName, rates: Rates, wanted: int) -> Taken:
            taken = await super().take(client, rates, wanted)
            await asyncio.sleep(limits.PERMIT_LIFE_S * 2)
            return taken

    async def main(clock: LoopClock) -> None:
        replicas = Replicas(clock, 1)
        slow = Slow(replicas.stores.tables)
        for rates in (FIVE, UNBOUNDED):
            process = RatePermits(slow, CLIENT.name, clock, lambda: 0.5)
            begin = clock.monotonic()
            assert await replicas.take(process, rates) - begin == limits.PERMIT_LIFE_S * 2
            assert process.asked == 1
            await asyncio.sleep(limits.PERMIT_LIFE_S)
            await refused(
                Reason.PROVIDER_RATE_LIMITED, replicas.take(process, rates, within_s=-0.1)
            )
            assert process.asked == 1

    run_virtual(main)
