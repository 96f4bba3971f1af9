"""A message id is never used twice."""

from __future__ import annotations

import os

import pytest

from tests.fakes.clock import FakeEntropy
from vault_service.crypto.codec import parse
from vault_service.crypto.dek import Dek
from vault_service.crypto.envelopes import Sealer
from vault_service.crypto.fresh import FreshBytes
from vault_service.domain.envelope import Binding, DekOwner, Field, Level
from vault_service.domain.sensitive import Sensitive

OWNER = DekOwner("tenant-a", Level.APPLICATION, "")
BINDING = Binding(OWNER, "record-1", Field.SECRET_VALUE, 1)


class _SystemEntropy(FakeEntropy):
    def token(self, size_bytes: int) -> bytes:
        return os.urandom(size_bytes)


def _repeats(seals: int) -> int:
    """How many msg_ids came twice, by their first 136 bits; 17 bytes are kept per seal."""
    dek = Dek(bytes(range(16)), OWNER, Sensitive(os.urandom(32)))
    sealer = Sealer("dep-1", dek, FreshBytes(_SystemEntropy()))
    payload = Sensitive(b"token")
    buckets = [bytearray() for _ in range(256)]  # by first byte: one set of all is too large
    for _ in range(seals):
        msg_id = parse(sealer.seal(BINDING, payload)).msg_id
        buckets[msg_id[0]] += msg_id[1:17]
    distinct = sum(
        len({bytes(bucket[at : at + 16]) for at in range(0, len(bucket), 16)}) for bucket in buckets
    )
    return seals - distinct


def test_no_id_repeats() -> None:
    """10^5 seals have 10^5 message ids."""
    assert _repeats(100_000) == 0


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_no_id_repeats_in_ten_million() -> None:
    """10^7 seals have 10^7 message ids."""
    assert _repeats(10_000_000) == 0
