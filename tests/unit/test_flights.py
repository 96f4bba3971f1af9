"""Single flight: one task per key, owned by the service."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.clock import FakeClock
from tests.support.house import refused
from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.usecases.flights import Flights


class Work:
    """Something slow that counts its starts."""

    def __init__(self) -> None:
        self.starts = 0
        self.ends = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.starts += 1
        await self.gate.wait()
        self.ends += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def flights() -> Flights:
    return Flights(FakeClock())


LATE = 1_000.0 + 60  # of FakeClock's monotonic start


async def test_one_task_per_key(flights: Flights) -> None:
    """All who join a key while it flies share one run; another key has its own."""
    work, other = Work(), Work()
    joined = [asyncio.create_task(flights.join("k", work, LATE)) for _ in range(10)]
    apart = asyncio.create_task(flights.join("other", other, LATE))
    await asyncio.sleep(0)
    work.gate.set()
    other.gate.set()
    assert await asyncio.gather(*joined, apart) == [True] * 11
    assert (work.starts, other.starts) == (1, 1)


async def test_key_is_free_afterwards(flights: Flights) -> None:
    """A flight that has ended is not joined: the next one starts anew."""
    work = Work()
    work.gate.set()
    assert await flights.join("k", work, LATE)
    await asyncio.sleep(0)
    assert await flights.join("k", work, LATE)
    assert work.starts == 2


async def test_own_deadline(flights: Flights) -> None:
    """A waiter whose deadline passes learns False; the flight goes on for the others."""
    work = Work()
    patient = asyncio.create_task(flights.join("k", work, LATE))
    await asyncio.sleep(0)
    assert await flights.join("k", work, 1_000.01) is False
    assert await flights.join("k", work, 0.0) is False
    work.gate.set()
    assert await patient is True
    assert work.starts == 1


async def test_cancelled_waiters(flights: Flights) -> None:
    """Cancelling every waiter does not cancel the flight."""
    work = Work()
    waiting = [asyncio.create_task(flights.join("k", work, LATE)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    work.gate.set()
    assert await flights.drain(1) == 0
    assert work.ends == 1


async def test_refusals_are_shared_as_copies(flights: Flights) -> None:
    """Each waiter gets the refusal as an error of its own, with all its facts."""
    work = Work()
    work.error = VaultError(
        Reason.PROVIDER_RATE_LIMITED, "slow", metadata={"a": "b"}, retry_after_s=7
    )
    work.gate.set()
    errors = await asyncio.gather(
        *(refused(Reason.PROVIDER_RATE_LIMITED, flights.join("k", work, LATE)) for _ in range(3))
    )
    assert len({id(error) for error in errors}) == 3
    assert {error.retry_after_s for error in errors} == {7}
    assert [error.metadata for error in errors] == [{"a": "b"}] * 3


async def test_faults_reach_the_waiters(flights: Flights) -> None:
    """A fault that is no refusal is raised where it was waited for, and the key is free again."""
    work = Work()
    work.error = RuntimeError("fault")
    work.gate.set()
    with pytest.raises(RuntimeError, match="fault"):
        await flights.join("k", work, LATE)
    work.error = None
    assert await flights.join("k", work, LATE)


async def test_bound(flights: Flights, monkeypatch: pytest.MonkeyPatch) -> None:
    """More flights than the limit are OVERLOADED; joining one under way is not."""
    monkeypatch.setattr(limits, "FLIGHTS_MAX", 2)
    work = Work()
    waiting = [asyncio.create_task(flights.join(n, work, LATE)) for n in (1, 2)]
    await asyncio.sleep(0)
    error = await refused(Reason.OVERLOADED, flights.join(3, work, LATE))
    assert error.retryable
    joining = asyncio.create_task(flights.join(1, work, LATE))
    await asyncio.sleep(0)
    work.gate.set()
    assert await asyncio.gather(*waiting, joining) == [True] * 3


async def test_drain(flights: Flights) -> None:
    """A drain waits for what ends in time, cancels the rest and says how many; waiters are told."""
    quick, stuck = Work(), Work()
    waiting = [
        asyncio.create_task(flights.join("quick", quick, LATE)),
        asyncio.create_task(flights.join("stuck", stuck, LATE)),
    ]
    await asyncio.sleep(0)
    quick.gate.set()
    assert await flights.drain(0.02) == 1
    assert await waiting[0] is True
    error = await refused(Reason.REFRESH_IN_PROGRESS, waiting[1])
    assert error.retryable
    assert (stuck.starts, stuck.ends) == (1, 0)
    assert await flights.drain(0) == 0


async def test_use_is_counted(flights: Flights) -> None:
    """How many fly, were begun, and were joined."""
    work = Work()
    joined = [asyncio.create_task(flights.join("k", work, LATE)) for _ in range(3)]
    await asyncio.sleep(0)
    assert (len(flights), flights.started, flights.joined) == (1, 1, 2)
    work.gate.set()
    await asyncio.gather(*joined)
    await asyncio.sleep(0)
    assert len(flights) == 0
