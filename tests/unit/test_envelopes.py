"""The facade that use cases call."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace

import pytest

from tests.fakes.clock import FakeClock, FakeEntropy
from tests.fakes.keys import FakeDekStore, FakeKeyWrapper
from vault_service.crypto.cache import Lives
from vault_service.crypto.envelopes import Envelopes
from vault_service.crypto.fresh import FreshBytes
from vault_service.crypto.ring import DekRing
from vault_service.domain import limits
from vault_service.domain.envelope import Binding, DekOwner, Field, Level
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.sensitive import Sensitive

OWNER = DekOwner("tenant-a", Level.USER, "user-42")
BINDING = Binding(OWNER, "record-1", Field.ACCESS_TOKEN, 3, "google")
TOKEN = Sensitive(b"ya29.token")


class RepeatingEntropy(FakeEntropy):
    """Draws the same varied bytes each time."""

    def token(self, size_bytes: int) -> bytes:
        return bytes(range(size_bytes))


class House:
    """Two replicas' facades over one transit and one table."""

    def __init__(self) -> None:
        self.wrapper, self.store = FakeKeyWrapper(), FakeDekStore()
        self.entropy = FakeEntropy()
        self.here, self.there = self._replica(), self._replica()

    def _replica(self) -> Envelopes:
        self.ring = DekRing(
            self.wrapper, self.store, self.entropy, FakeClock(), Lives(max_entries=2)
        )
        return Envelopes("dep-1", self.ring, self.entropy)


async def test_round_trip_over_replicas() -> None:
    """What one replica seals another opens."""
    house = House()
    envelope = (await house.here.sealer(OWNER)).seal(BINDING, TOKEN)
    assert (await house.there.open(BINDING, envelope)).same_as(TOKEN)


async def test_wrong_row_and_garbage() -> None:
    """An envelope of another row, and bytes that are none, are ENVELOPE_CORRUPT."""
    house = House()
    envelope = (await house.here.sealer(OWNER)).seal(BINDING, TOKEN)
    thief = DekOwner("tenant-b", Level.USER, "user-42")
    for binding, data in (
        (replace(BINDING, version=4), envelope),
        (replace(BINDING, dek_owner=thief), envelope),
        (BINDING, b"not an envelope"),
    ):
        with pytest.raises(VaultError) as refused:
            await house.here.open(binding, data)
        assert refused.value.reason is Reason.ENVELOPE_CORRUPT


async def test_holds() -> None:
    """A sealer tells whether an envelope seals a payload, and no for all that it cannot open."""
    house = House()
    sealer = await house.here.sealer(OWNER)
    envelope = sealer.seal(BINDING, TOKEN)
    assert sealer.holds(BINDING, envelope, Sensitive(b"ya29.token"))
    assert not sealer.holds(BINDING, envelope, Sensitive(b"ya29.other"))
    assert not sealer.holds(replace(BINDING, version=4), envelope, TOKEN)
    assert not sealer.holds(BINDING, b"not an envelope", TOKEN)
    other = replace(BINDING, dek_owner=DekOwner("tenant-a", Level.USER, "user-43"))
    foreign = (await house.here.sealer(other.dek_owner)).seal(other, TOKEN)
    assert not sealer.holds(other, foreign, TOKEN)


async def test_sealer_needs_nothing_any_more() -> None:
    """Without transit, database and randomness, and with its DEK evicted, it still seals."""
    house = House()
    sealer = await house.here.sealer(OWNER)
    for number in range(5):
        await house.here.sealer(DekOwner("tenant-a", Level.USER, f"user-{number}"))
    house.wrapper.denied = house.store.unreachable = True
    house.entropy.stuck = 0
    bindings = [replace(BINDING, version=version) for version in range(limits.SEALS_AHEAD)]
    envelopes = [sealer.seal(binding, TOKEN) for binding in bindings]
    with pytest.raises(VaultError) as refused:
        sealer.seal(BINDING, TOKEN)
    assert refused.value.reason is Reason.INTERNAL
    house.wrapper.denied = house.store.unreachable = False
    assert len({envelope[21:53] for envelope in envelopes}) == limits.SEALS_AHEAD
    for binding, envelope in zip(bindings, envelopes, strict=True):
        assert (await house.there.open(binding, envelope)).same_as(TOKEN)


async def test_sealer_is_for_one_owner() -> None:
    """A sealer refuses a row of another owner."""
    sealer = await House().here.sealer(OWNER)
    with pytest.raises(VaultError) as refused:
        sealer.seal(replace(BINDING, dek_owner=replace(OWNER, owner="user-43")), TOKEN)
    assert refused.value.reason is Reason.ENVELOPE_CORRUPT


async def test_stuck_random_source() -> None:
    """One byte over and over, or the same draw twice, is refused before anything is sealed."""
    house = House()
    await house.here.sealer(OWNER)
    house.entropy.stuck = 0xFF
    with pytest.raises(VaultError) as refused:
        await house.here.sealer(OWNER)
    assert refused.value.reason is Reason.INTERNAL
    fresh = FreshBytes(RepeatingEntropy())
    fresh.take(32)
    with pytest.raises(VaultError) as refused:
        fresh.take(32)
    assert refused.value.reason is Reason.INTERNAL


async def test_fingerprint_bytes() -> None:
    """A fingerprint is what its docstring says, computed here by other means."""
    house = House()
    shown = await house.here.fingerprint("tenant-a", TOKEN)
    dek = await house.ring.sealing(DekOwner("tenant-a", Level.APPLICATION, ""))
    extracted = hmac.digest(bytes(64), bytes(dek.reveal()), hashlib.sha512)
    key = hmac.digest(extracted, b"tvault/fingerprint/v1\x01", hashlib.sha512)[:32]
    mac = hmac.digest(key, TOKEN.reveal(), hashlib.sha256)[:16]
    assert shown == "v1." + base64.urlsafe_b64encode(mac).decode().rstrip("=")
    assert len(shown) == 25


async def test_fingerprint_tells_tokens_and_tenants_apart() -> None:
    """It is equal over replicas, and differs for another token or another tenant."""
    house = House()
    shown = await house.here.fingerprint("tenant-a", TOKEN)
    assert await house.there.fingerprint("tenant-a", Sensitive(TOKEN.reveal())) == shown
    assert await house.here.fingerprint("tenant-a", Sensitive(b"ya29.other")) != shown
    assert await house.here.fingerprint("tenant-b", TOKEN) != shown
