"""How long the ring keeps DEKs, and what stands in for what."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable
from dataclasses import dataclass, field

import pytest

from tests.fakes.clock import FakeClock, FakeEntropy
from tests.fakes.keys import FakeDekStore, FakeKeyWrapper
from vault_service.crypto.cache import Lives
from vault_service.crypto.dek import Dek
from vault_service.crypto.ring import DekRing
from vault_service.domain import limits
from vault_service.domain.envelope import DekOwner, Level, WrappedDek
from vault_service.domain.errors import KekDenied, Reason, VaultError
from vault_service.domain.sensitive import Sensitive

OWNER = DekOwner("tenant-a", Level.USER, "user-42")
SHORTEST_SOFT_S = limits.DEK_SOFT_LIFE_S * (1 - limits.DEK_JITTER)
LONGEST_SOFT_S = limits.DEK_SOFT_LIFE_S * (1 + limits.DEK_JITTER)
LONGEST_RECHECK_S = limits.DEK_RECHECK_S * (1 + limits.DEK_JITTER)


class PlainEntropy(FakeEntropy):
    """Without jitter: its small draws lie in the middle."""

    def token(self, size_bytes: int) -> bytes:
        if size_bytes < 16:
            return (1 << 8 * size_bytes - 1).to_bytes(size_bytes, "big")
        return super().token(size_bytes)


class BrokenKeyWrapper(FakeKeyWrapper):
    """Has a mistake in it, at a switch."""

    broken = False

    async def unwrap(self, wrapped: WrappedDek) -> Sensitive:
        if self.broken:
            raise RuntimeError("a mistake of ours")
        return await super().unwrap(wrapped)


async def refusal_of(call: Awaitable[Dek]) -> weakref.ref[VaultError]:
    """A weak reference to what the call raises."""
    try:
        await call
    except VaultError as error:
        return weakref.ref(error)
    raise AssertionError("not refused")


@dataclass
class House:
    """A ring on fakes with one DEK in memory."""

    lives: Lives = field(default_factory=Lives)
    wrapper: FakeKeyWrapper = field(default_factory=FakeKeyWrapper)
    store: FakeDekStore = field(default_factory=FakeDekStore)
    clock: FakeClock = field(default_factory=FakeClock)
    entropy: FakeEntropy = field(default_factory=FakeEntropy)
    dek_id: bytes = b""

    def __post_init__(self) -> None:
        self.start_s = self.clock.monotonic()
        self.ring = DekRing(self.wrapper, self.store, self.entropy, self.clock, self.lives)

    async def warm(self) -> House:
        self.dek_id = (await self.ring.sealing(OWNER)).dek_id
        self.wrapper.unwraps = 0
        return self

    async def opening(self) -> Dek:
        return await self.ring.opening(OWNER, self.dek_id)

    async def background(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


async def test_served_from_memory() -> None:
    """Early in its soft life a DEK costs neither the database nor transit anything."""
    house = await House().warm()
    house.wrapper.denied = house.store.unreachable = True
    house.clock.advance(SHORTEST_SOFT_S * 0.7)
    await asyncio.gather(*(house.opening() for _ in range(256)))
    await house.ring.sealing(OWNER)
    await house.background()
    assert house.wrapper.unwraps == 0


async def test_refreshed_in_the_background() -> None:
    """Late in its soft life a DEK in use is refreshed once behind its callers, who do not wait."""
    house = await House(entropy=PlainEntropy()).warm()
    house.wrapper.gate = asyncio.Event()
    house.clock.advance(limits.DEK_SOFT_LIFE_S - 1)
    before = [await house.opening() for _ in range(256)]
    await house.background()
    assert house.wrapper.unwraps == 1
    house.wrapper.gate.set()
    await house.background()
    after = await house.opening()
    assert after is not before[0]
    assert after.reveal() == before[0].reveal()
    house.clock.advance(SHORTEST_SOFT_S * 0.7)
    assert await house.opening() is after


async def test_past_soft_life_transit_is_asked() -> None:
    """Past its soft life a DEK is not served before transit has answered, once for everybody."""
    house = await House().warm()
    house.clock.advance(LONGEST_SOFT_S)
    house.wrapper.gate = asyncio.Event()
    callers = [asyncio.create_task(house.opening()) for _ in range(256)]
    await house.background()
    assert not any(caller.done() for caller in callers)
    house.wrapper.gate.set()
    await asyncio.gather(*callers)
    assert house.wrapper.unwraps == 1


async def test_unreachable_is_bridged_to_the_hard_life() -> None:
    """While transit is unreachable the DEK in memory serves, but not past its hard life."""
    house = await House().warm()
    house.wrapper.unreachable = True
    step_s = LONGEST_RECHECK_S + 1
    while house.clock.monotonic() + step_s < house.start_s + limits.DEK_HARD_LIFE_S:
        house.clock.advance(step_s)
        await house.opening()
        await house.background()
    assert house.wrapper.unwraps > 50
    house.clock.advance(step_s)
    with pytest.raises(VaultError) as refused:
        await house.opening()
    assert refused.value.reason is Reason.KEK_UNREACHABLE


async def test_an_outage_does_not_make_each_call_wait() -> None:
    """After transit was found unreachable, calls are served at once for a while."""
    house = await House().warm()
    house.wrapper.unreachable = True
    house.clock.advance(LONGEST_SOFT_S)
    for _ in range(256):
        await house.opening()
    assert house.wrapper.unwraps == 1
    house.wrapper.gate = asyncio.Event()
    house.clock.advance(limits.DEK_RECHECK_S * (1 - limits.DEK_JITTER) - 1)
    async with asyncio.timeout(5):
        for _ in range(256):
            await house.opening()
    await house.background()
    assert house.wrapper.unwraps == 2


async def test_the_end_of_an_outage_is_noticed() -> None:
    """When transit is back the next check refreshes the DEK for a whole life."""
    house = await House().warm()
    house.wrapper.unreachable = True
    house.clock.advance(LONGEST_SOFT_S)
    stale = await house.opening()
    house.wrapper.unreachable = False
    house.clock.advance(LONGEST_RECHECK_S)
    fresh = await house.opening()
    assert fresh is not stale
    house.wrapper.denied = True
    house.clock.advance(SHORTEST_SOFT_S * 0.7)
    assert await house.opening() is fresh


async def test_denied_evicts_at_once() -> None:
    """When transit denies, the DEK in memory is evicted and never stands in."""
    house = await House().warm()
    view = (await house.opening()).reveal()
    house.wrapper.denied = True
    house.clock.advance(LONGEST_SOFT_S)
    with pytest.raises(KekDenied) as kept:
        await house.opening()
    assert view == bytes(32), "wiped, even while its refusal is still looked at"
    assert kept.value.reason is Reason.KEK_UNREACHABLE
    house.wrapper.denied, house.wrapper.unreachable = False, True
    with pytest.raises(VaultError):
        await house.opening()


async def test_denied_in_the_background_evicts() -> None:
    """A denial that comes while the DEK is refreshed early evicts it before its soft life ends."""
    house = await House(entropy=PlainEntropy()).warm()
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    house.wrapper.denied = True
    house.clock.advance(limits.DEK_SOFT_LIFE_S - 1)
    view = (await house.opening()).reveal()
    await house.background()
    gc.collect()
    assert view == bytes(32)
    assert not unseen, "a failure in the background is no unhandled one"
    with pytest.raises(KekDenied):
        await house.opening()


async def test_refusals_leave_nothing_behind() -> None:
    """A refusal frees its traceback, and what the frames in it hold, as soon as it is handled."""
    house = await House().warm()
    house.wrapper.denied = True
    house.clock.advance(LONGEST_SOFT_S)
    gc.collect()
    gc.disable()
    try:
        refusal = await refusal_of(house.opening())
        await house.background()
        assert refusal() is None
    finally:
        gc.enable()


async def test_jitter_spreads_refreshes() -> None:
    """Of DEKs loaded together about half outlive the middle of the jitter, and none its end."""
    house = House()
    owners = [DekOwner("tenant-a", Level.USER, f"user-{number}") for number in range(200)]
    deks = [await house.ring.sealing(owner) for owner in owners]
    house.wrapper.gate = asyncio.Event()
    for at_s, served in ((SHORTEST_SOFT_S - 1, 200), (limits.DEK_SOFT_LIFE_S, 100)):
        house.clock.advance(at_s - (house.clock.monotonic() - house.start_s))
        calls = [asyncio.create_task(house.ring.opening(dek.dek_owner, dek.dek_id)) for dek in deks]
        await house.background()
        assert abs(sum(call.done() for call in calls) - served) <= (30 if served < 200 else 0)
    house.wrapper.gate.set()
    await house.background()


async def test_deleted_tenant_key_evicts() -> None:
    """A tenant that was shredded stops opening with TENANT_NOT_PROVISIONED, cached or not."""
    house = await House().warm()
    house.wrapper.delete_key(OWNER.tenant)
    house.clock.advance(LONGEST_SOFT_S)
    for _ in range(2):
        with pytest.raises(VaultError) as refused:
            await house.opening()
        assert refused.value.reason is Reason.TENANT_NOT_PROVISIONED


async def test_removed_row_evicts() -> None:
    """A DEK whose row is gone stops opening, also when transit is unreachable afterwards."""
    house = await House().warm()
    del house.store.rows[house.dek_id]
    house.clock.advance(LONGEST_SOFT_S)
    for house.wrapper.unreachable in (False, True):
        with pytest.raises(VaultError) as refused:
            await house.opening()
        assert refused.value.reason is Reason.ENVELOPE_CORRUPT


async def test_database_away_does_not_stand_in() -> None:
    """Past its soft life a DEK is not served while the database cannot show its row."""
    house = await House().warm()
    house.store.unreachable = True
    house.clock.advance(LONGEST_SOFT_S)
    for _ in range(2):
        with pytest.raises(VaultError) as refused:
            await house.opening()
        assert refused.value.reason is Reason.STORE_UNREACHABLE
    house.store.unreachable = False
    await house.opening()


async def test_unexpected_failure_evicts() -> None:
    """A failure that nobody foresaw evicts, and is raised as it is."""
    wrapper = BrokenKeyWrapper()
    house = await House(wrapper=wrapper).warm()
    wrapper.broken = True
    house.clock.advance(LONGEST_SOFT_S)
    with pytest.raises(RuntimeError):
        await house.opening()
    wrapper.broken, wrapper.unreachable = False, True
    with pytest.raises(VaultError):
        await house.opening()


async def test_new_current_dek_is_found() -> None:
    """Another DEK that became the owner's current one is used after the soft life."""
    house = await House().warm()
    del house.store.rows[house.dek_id]
    house.clock.advance(LONGEST_SOFT_S)
    dek = await house.ring.sealing(OWNER)
    assert dek.dek_id != house.dek_id
    assert list(house.store.rows) == [dek.dek_id]


async def test_replaced_dek_is_found_at_once() -> None:
    """When the DEK that was the current one is gone, only the call that notices it fails."""
    house = await House(Lives(max_entries=1)).warm()
    other = DekOwner("tenant-a", Level.APPLICATION, "")
    replica = House(wrapper=house.wrapper, store=house.store, entropy=FakeEntropy(seed=2))
    other_id = (await replica.ring.sealing(other)).dek_id
    await house.ring.opening(other, other_id)
    del house.store.rows[house.dek_id]
    with pytest.raises(VaultError) as refused:
        await house.ring.sealing(OWNER)
    assert refused.value.reason is Reason.ENVELOPE_CORRUPT
    assert (await house.ring.sealing(OWNER)).dek_id != house.dek_id


async def test_least_recently_used_goes_first() -> None:
    """A full ring evicts what was used longest ago, and wipes it."""
    house = House(Lives(max_entries=2))
    owners = [DekOwner("tenant-a", Level.USER, f"user-{number}") for number in range(3)]
    views = [(await house.ring.sealing(owner)).reveal() for owner in owners[:2]]
    await house.ring.sealing(owners[0])
    await house.ring.sealing(owners[2])
    assert views[0] != bytes(32)
    assert views[1] == bytes(32)


async def test_eviction_under_use() -> None:
    """A DEK that is evicted while a call uses it stays whole until the call lets go."""
    house = House(Lives(max_entries=1))
    in_use = await house.ring.sealing(OWNER)
    view = in_use.reveal()
    await house.ring.sealing(DekOwner("tenant-a", Level.APPLICATION, ""))
    assert view != bytes(32)
    del in_use
    assert view == bytes(32)


async def test_unused_deks_are_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DEK past its hard life is wiped though nobody asks for it again."""
    monkeypatch.setattr(limits, "DEK_SWEEP_S", 0.01)
    house = House()
    view = (await house.ring.sealing(OWNER)).reveal()
    await asyncio.sleep(0.05)
    assert view != bytes(32)
    house.clock.advance(limits.DEK_HARD_LIFE_S)
    for _ in range(500):
        await asyncio.sleep(0.01)
        if view == bytes(32):
            break
    assert view == bytes(32)


@pytest.mark.parametrize(
    ("soft_s", "hard_s", "max_entries"),
    [
        (0, 3_600, 10),
        (300, 350, 10),
        (300, 86_401, 10),
        (300, float("nan"), 10),
        (300, 3_600, 0),
        (300, 3_600, 50_001),
    ],
)
def test_lives_out_of_bounds(soft_s: float, hard_s: float, max_entries: int) -> None:
    """A hard life over a day, or bounds that contradict, are refused at once."""
    with pytest.raises(ValueError, match=r"life|entries"):
        Lives(soft_s, hard_s, max_entries)


async def test_use_is_counted() -> None:
    """Hits, misses, what newer DEKs pushed out, and what stood in while transit was away."""
    house = await House(lives=Lives(max_entries=1)).warm()
    counts = house.ring.deks.counts
    assert (counts.hits, counts.misses, counts.stale) == (0, 1, 0)
    await house.opening()
    assert counts.hits == 1
    house.wrapper.unreachable = True
    house.clock.advance(LONGEST_SOFT_S + 1)
    await house.opening()
    assert (counts.misses, counts.stale, counts.evictions) == (2, 1, 0)
    house.wrapper.unreachable = False
    await house.ring.sealing(DekOwner("tenant-a", Level.USER, "user-43"))
    assert (counts.evictions, len(house.ring.deks), house.ring.deks.loading) == (1, 1, 0)
