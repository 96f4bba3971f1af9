"""A provider that hangs, class S: the late answer is taken, and nobody asks meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from tests.fakes.token_endpoint import FakeTokenEndpoint
from tests.support.house import House, refused
from tests.support.virtual_time import LoopClock, run_virtual
from tests.unit.test_grace import sweep
from vault_service.domain import limits
from vault_service.domain.attempt import AttemptState
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, GrantState

HANGS_S = 45.0


@dataclass(frozen=True)
class Hung:
    """A request that hangs since this moment, and the caller who waits for it."""

    house: House
    sibling: House
    grant: Grant
    began: float
    gate: asyncio.Event
    caller: asyncio.Task[VaultError]

    @property
    def presented(self) -> int:
        """How often the refresh token was."""
        return len(self.house.endpoint.posted("refresh"))

    async def since(self, seconds: float) -> None:
        """Until so long after it began."""
        await asyncio.sleep(self.began + seconds - self.house.clock.monotonic())

    async def holds(self) -> str:
        """The refresh token that the row has."""
        row = await self.house.row(self.grant.name)
        assert row.refresh_envelope is not None
        opened = await self.house.envelopes.open(row.refresh_binding(), row.refresh_envelope)
        return opened.reveal_text()


async def _hung(clock: LoopClock, reason: Reason = Reason.REFRESH_IN_DOUBT) -> Hung:
    house = House(clock=clock)
    grant = await house.grant()
    await asyncio.sleep(3_600)
    house.endpoint.ledger.clear()
    gate = house.endpoint.hold()
    caller = asyncio.create_task(refused(reason, house.token(grant.name)))
    await house.endpoint.arrived.wait()
    return Hung(house, House.beside(house), grant, clock.monotonic(), gate, caller)


def test_the_late_answer_is_taken() -> None:
    """Callers are told at the POST limit that it is in doubt, those who come later and those of
    other processes at once, nobody presents the token again, and the answer is the grant's."""

    async def main(clock: LoopClock) -> None:
        hung = await _hung(clock)
        sweeps = [asyncio.create_task(sweep(each, 60)) for each in (hung.house, hung.sibling)]
        await hung.caller
        assert clock.monotonic() - hung.began == pytest.approx(limits.POST_LIMIT_S)
        for house in (hung.house, hung.sibling):
            asked = clock.monotonic()
            error = await refused(Reason.REFRESH_IN_DOUBT, house.token(hung.grant.name))
            assert 0 < (error.retry_after_s or 0) <= 25.0
            assert clock.monotonic() == asked
        await hung.since(HANGS_S)
        assert hung.presented == 1
        assert len(hung.house.flights) == 1
        hung.gate.set()
        await asyncio.sleep(1)
        assert await hung.holds() == "rt-2"
        assert not (await hung.sibling.token(hung.grant.name)).refreshed
        await asyncio.gather(*sweeps)
        assert hung.presented == 1
        (attempt,) = hung.house.stores.tables.attempts.values()
        assert attempt.state is AttemptState.COMMITTED
        assert (hung.house.engine.late.came, hung.house.engine.late.waiting) == (1, 0)

    run_virtual(main)


def test_it_holds_no_place() -> None:
    """What waits for a late answer leaves its place to others at its provider."""

    async def main(clock: LoopClock) -> None:
        hung = await _hung(clock)
        await hung.since(limits.POST_LIMIT_S - 1)
        (lane,) = hung.house.outages.view()
        assert lane.inside == 1
        await hung.since(limits.POST_LIMIT_S + 1)
        (lane,) = hung.house.outages.view()
        assert lane.inside == 0
        hung.gate.set()
        await asyncio.sleep(1)
        assert await hung.holds() == "rt-2"

    run_virtual(main)


def test_a_database_that_is_away_meanwhile() -> None:
    """Where the lease cannot be renewed the request goes on; its answer is stored when the database
    is back, by the fence or with the attempt."""

    async def main(clock: LoopClock) -> None:
        hung = await _hung(clock)
        await hung.since(21)
        hung.house.stores.tables.unreachable = True
        await hung.since(HANGS_S)
        hung.gate.set()
        await asyncio.sleep(5)
        hung.house.stores.tables.unreachable = False
        await sweep(hung.house, 3)
        assert (await hung.holds(), hung.presented) == ("rt-2", 1)

    run_virtual(main)


def test_a_lease_that_was_lost_meanwhile() -> None:
    """The answer of who lost its lease is kept with the attempt, and any process stores it."""

    async def main(clock: LoopClock) -> None:
        hung = await _hung(clock)
        await hung.since(30)
        hung.house.stores.tables.leases.clear()
        await hung.since(HANGS_S)
        hung.gate.set()
        await asyncio.sleep(1)
        assert hung.house.records(AuditAction.REFRESH_ORPHAN_KEPT)
        await sweep(hung.sibling, 2)
        assert (await hung.holds(), hung.presented) == ("rt-2", 1)

    run_virtual(main)


def test_a_process_that_dies_while_it_waits() -> None:
    """Its lease runs out, its spool is waited for, and then the grant is recovered as ever."""

    async def main(clock: LoopClock) -> None:
        hung = await _hung(clock)
        await hung.since(30)
        assert await hung.house.flights.drain(0) == 1
        hung.gate.set()
        await sweep(hung.sibling, 100)
        assert hung.presented == 1
        await sweep(hung.sibling, limits.SPOOL_WAIT_S)
        assert (hung.presented, await hung.holds()) == (2, "rt-3")

    run_virtual(main)


def test_an_answer_that_never_comes() -> None:
    """After the longest wait for an answer the attempt is recovered as any other in doubt."""

    async def main(clock: LoopClock) -> None:
        hung = await _hung(clock)
        await hung.since(limits.ANSWER_LIMIT_S - 1)
        assert (hung.presented, len(hung.house.flights)) == (1, 1)
        await hung.since(limits.ANSWER_LIMIT_S + 1)
        assert len(hung.house.flights) == 0
        hung.gate.set()
        await sweep(hung.sibling, 60)
        assert hung.presented == 2
        assert hung.house.engine.late.missed == 1

    run_virtual(main)


@pytest.mark.parametrize("places", [0, 4])
def test_no_more_than_there_are_places(places: int) -> None:
    """Late requests hold a bounded number of slots and connections, one OAuthClient half of them;
    the others end at the POST limit, in doubt."""

    async def main(clock: LoopClock) -> None:
        endpoint = FakeTokenEndpoint()
        house = House(clock=clock, endpoint=endpoint, late_places=places)
        await house.register()
        made = []
        for number in range(6):
            endpoint.subject = f"sub-{number}"
            made.append((await house.consent(f"u-{number}")).grant)
        await asyncio.sleep(3_600)
        gate = endpoint.hold()
        calls = [refused(Reason.REFRESH_IN_DOUBT, house.token(each.name)) for each in made]
        await asyncio.gather(*calls)
        await asyncio.sleep(1)
        assert house.engine.late.waiting == len(house.flights) == max(1, places // 2)
        gate.set()

    run_virtual(main)


def test_revoked_while_it_waits() -> None:
    """A revocation needs not wait: callers are told that it is revoked, those who wait too, and the
    late tokens are not the grant's."""

    async def main(clock: LoopClock) -> None:
        hung = await _hung(clock, Reason.GRANT_REVOKED)
        await hung.since(5)
        await hung.house.revoke(hung.house.call(), hung.grant.name)
        await hung.caller
        await refused(Reason.GRANT_REVOKED, hung.sibling.token(hung.grant.name))
        hung.gate.set()
        await asyncio.sleep(1)
        assert (await hung.house.row(hung.grant.name)).state is GrantState.REVOKED

    run_virtual(main)
