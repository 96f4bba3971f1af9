"""How the ring finds and makes DEKs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from tests.fakes.clock import FakeClock, FakeEntropy
from tests.fakes.keys import FakeDekStore, FakeKeyWrapper
from vault_service.crypto.dek import Dek
from vault_service.crypto.ring import DekRing
from vault_service.domain import limits
from vault_service.domain.envelope import DekOwner, Level, WrappedDek
from vault_service.domain.errors import KekDenied, Reason, VaultError
from vault_service.domain.sensitive import Sensitive

OWNER = DekOwner("tenant-a", Level.USER, "user-42")
CALLERS = 256


class DamagingKeyWrapper(FakeKeyWrapper):
    """Answers each wrap with a ciphertext that is none."""

    async def wrap(self, dek_id: bytes, owner: DekOwner, key: Sensitive) -> WrappedDek:
        return replace(await super().wrap(dek_id, owner, key), wrapped="vault:v1:AAAA")


class House:
    """A ring on fakes; ``replica`` is another one on the same transit and table."""

    def __init__(self, wrapper: FakeKeyWrapper | None = None) -> None:
        self.wrapper = wrapper or FakeKeyWrapper()
        self.store = FakeDekStore()
        self.entropy = FakeEntropy()
        self.clock = FakeClock()
        self.ring = self.replica()

    def replica(self) -> DekRing:
        return DekRing(self.wrapper, self.store, self.entropy, self.clock)

    async def stored(self, owner: DekOwner = OWNER) -> WrappedDek:
        """A DEK in the table that no ring has seen."""
        key = Sensitive(os.urandom(32))
        return await self.store.insert(await self.wrapper.wrap(os.urandom(16), owner, key))


async def reason_of(call: Awaitable[Dek]) -> Reason:
    with pytest.raises(VaultError) as refused:
        await call
    return refused.value.reason


async def test_first_sealing_makes_a_dek() -> None:
    """The first sealing makes one DEK, wraps it, and inserts its row."""
    house = House()
    dek = await house.ring.sealing(OWNER)
    assert dek.dek_owner == OWNER
    assert list(house.store.rows) == [dek.dek_id]
    assert (await house.wrapper.unwrap(house.store.rows[dek.dek_id])).reveal() == dek.reveal()


async def test_a_new_dek_is_proven_first() -> None:
    """A DEK that transit cannot give back is not handed out, so nothing is sealed under it."""
    house = House(DamagingKeyWrapper())
    assert await reason_of(house.ring.sealing(OWNER)) is Reason.ENVELOPE_CORRUPT


async def test_sealing_and_opening_agree() -> None:
    """An envelope's DEK opens in another replica with the key that sealed it."""
    house = House()
    dek = await house.ring.sealing(OWNER)
    assert (await house.replica().opening(OWNER, dek.dek_id)).reveal() == dek.reveal()
    assert await house.ring.opening(OWNER, dek.dek_id) is dek


async def test_one_dek_per_owner() -> None:
    """Each (tenant, level, owner) has a DEK of its own, and keeps it."""
    house = House()
    owners = [
        OWNER,
        DekOwner("tenant-b", Level.USER, "user-42"),
        DekOwner("tenant-a", Level.USER, "user-43"),
        DekOwner("tenant-a", Level.APPLICATION, ""),
    ]
    deks = [await house.ring.sealing(owner) for owner in owners * 2]
    assert len({dek.dek_id for dek in deks}) == len({bytes(dek.reveal()) for dek in deks}) == 4
    assert house.wrapper.wraps == 4


async def test_replicas_that_race_use_one_row() -> None:
    """When two replicas make a DEK at once, both use the row that stands."""
    house = House()
    first, second = await asyncio.gather(house.ring.sealing(OWNER), house.replica().sealing(OWNER))
    assert house.store.inserts == 2
    assert list(house.store.rows) == [first.dek_id] == [second.dek_id]
    assert first.reveal() == second.reveal()


async def test_missing_dek() -> None:
    """An envelope that names a DEK the table does not have is ENVELOPE_CORRUPT."""
    assert await reason_of(House().ring.opening(OWNER, b"?" * 16)) is Reason.ENVELOPE_CORRUPT


@pytest.mark.parametrize(
    "other",
    [
        DekOwner("tenant-b", Level.USER, "user-42"),
        DekOwner("tenant-a", Level.USER, "user-43"),
        DekOwner("tenant-a", Level.APPLICATION, ""),
    ],
)
async def test_dek_of_another_owner(other: DekOwner) -> None:
    """A DEK serves only its own tenant, level and owner, cached or not."""
    house = House()
    row = await house.stored()
    assert await reason_of(house.ring.opening(other, row.dek_id)) is Reason.ENVELOPE_CORRUPT
    await house.ring.opening(OWNER, row.dek_id)
    assert await reason_of(house.ring.opening(other, row.dek_id)) is Reason.ENVELOPE_CORRUPT


async def test_row_moved_to_another_owner() -> None:
    """A wrapped DEK whose row was rewritten to another owner does not unwrap."""
    house = House()
    row = await house.stored()
    thief = DekOwner("tenant-a", Level.USER, "thief")
    house.store.rows[row.dek_id] = replace(row, dek_owner=thief)
    assert await reason_of(house.ring.opening(thief, row.dek_id)) is Reason.ENVELOPE_CORRUPT
    assert await reason_of(house.ring.sealing(thief)) is Reason.ENVELOPE_CORRUPT


async def test_cold_callers_share_one_unwrap() -> None:
    """256 callers at once on a DEK not in memory cost one look-up and one unwrap."""
    house = House()
    row = await house.stored()
    house.store.finds = 0
    deks = await asyncio.gather(*(house.ring.opening(OWNER, row.dek_id) for _ in range(CALLERS)))
    assert (house.store.finds, house.wrapper.unwraps) == (1, 1)
    assert len({id(dek) for dek in deks}) == 1


async def test_cold_sealers_make_one_dek() -> None:
    """256 callers at once who seal for a new owner make one DEK."""
    house = House()
    await asyncio.gather(*(house.ring.sealing(OWNER) for _ in range(CALLERS)))
    assert (house.wrapper.wraps, house.wrapper.unwraps, house.store.inserts) == (1, 1, 1)


async def test_one_cancelled_caller_cancels_nobody() -> None:
    """Callers who hang up, the first one too, neither stop the load nor fail the others."""
    house = House()
    row = await house.stored()
    house.wrapper.gate = asyncio.Event()
    house.wrapper.arrived.clear()
    callers = [asyncio.create_task(house.ring.opening(OWNER, row.dek_id)) for _ in range(CALLERS)]
    await house.wrapper.arrived.wait()
    for caller in callers[::2]:
        caller.cancel()
    await asyncio.wait(callers[::2])
    house.wrapper.gate.set()
    deks = await asyncio.gather(*callers[1::2])
    assert all(caller.cancelled() for caller in callers[::2])
    assert len(deks) == CALLERS // 2
    assert house.wrapper.unwraps == 1


async def test_a_load_outlives_all_its_callers() -> None:
    """When every caller hangs up the load still ends, and its DEK is there for the next."""
    house = House()
    row = await house.stored()
    house.wrapper.gate = asyncio.Event()
    house.wrapper.arrived.clear()
    caller = asyncio.create_task(house.ring.opening(OWNER, row.dek_id))
    await house.wrapper.arrived.wait()
    caller.cancel()
    await asyncio.wait([caller])
    house.wrapper.gate.set()
    await house.ring.opening(OWNER, row.dek_id)
    await house.ring.opening(OWNER, row.dek_id)
    assert house.wrapper.unwraps == 1


async def test_failures_are_shared_and_not_kept() -> None:
    """A failed load fails all who waited with its reason; the next call tries again."""
    house = House()
    row = await house.stored()
    house.wrapper.unreachable = True
    calls = [house.ring.opening(OWNER, row.dek_id) for _ in range(8)]
    failures = await asyncio.gather(*calls, return_exceptions=True)
    reasons = {failure.reason for failure in failures if isinstance(failure, VaultError)}
    assert reasons == {Reason.KEK_UNREACHABLE}
    assert house.wrapper.unwraps == 1
    house.wrapper.unreachable = False
    await house.ring.opening(OWNER, row.dek_id)


async def test_cold_start_in_each_fault() -> None:
    """Without a DEK in memory each fault closes the call with its own reason."""
    house = House()
    row = await house.stored()
    house.wrapper.denied = True
    with pytest.raises(KekDenied):
        await house.ring.opening(OWNER, row.dek_id)
    house.wrapper.denied = False
    house.store.unreachable = True
    assert await reason_of(house.ring.sealing(OWNER)) is Reason.STORE_UNREACHABLE
    house.store.unreachable = False
    house.wrapper.delete_key(OWNER.tenant)
    assert await reason_of(house.ring.sealing(OWNER)) is Reason.TENANT_NOT_PROVISIONED


async def test_stuck_random_source() -> None:
    """No DEK is made of a random source that is stuck."""
    house = House()
    house.entropy.stuck = 0xA5
    assert await reason_of(house.ring.sealing(OWNER)) is Reason.INTERNAL
    assert not house.store.rows


async def test_loads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More loads at one time than the limit are OVERLOADED, and those under way go on."""
    monkeypatch.setattr(limits, "DEK_LOADS_MAX", 2)
    house = House()
    owners = [DekOwner("tenant-a", Level.USER, f"user-{number}") for number in range(3)]
    rows = [await house.stored(owner) for owner in owners]
    calls = [house.ring.opening(row.dek_owner, row.dek_id) for row in rows]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Dek, Dek, VaultError]
    assert isinstance(answers[2], VaultError)
    assert answers[2].reason is Reason.OVERLOADED


async def test_close() -> None:
    """Closing ends what runs, wipes what nobody uses, and refuses from then on."""
    house = House()
    used = await house.ring.sealing(OWNER)
    other = DekOwner("tenant-a", Level.APPLICATION, "")
    unused = (await house.ring.sealing(other)).reveal()
    row = await house.stored(replace(OWNER, owner="user-43"))
    house.wrapper.gate = asyncio.Event()
    house.wrapper.arrived.clear()
    waiting = asyncio.create_task(house.ring.opening(row.dek_owner, row.dek_id))
    await house.wrapper.arrived.wait()
    await house.ring.close()
    assert await reason_of(waiting) is Reason.KEK_UNREACHABLE
    assert unused == bytes(32)
    assert used.reveal() != bytes(32)
    assert await reason_of(house.ring.sealing(OWNER)) is Reason.KEK_UNREACHABLE
