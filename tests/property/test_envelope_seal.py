"""What was sealed opens for its own row, and for nothing else."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_service.crypto.dek import Dek
from vault_service.crypto.envelope import open_envelope, seal
from vault_service.domain import limits
from vault_service.domain.envelope import Binding, DekOwner, Field, Level
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.sensitive import Sensitive

DEPLOYMENT = "dep-1"
OWNER = DekOwner("tenant-a", Level.USER, "user-42")
BINDING = Binding(OWNER, "record-1", Field.REFRESH_TOKEN, 7, "google")
DEK_ID, KEY, MSG_ID = bytes(range(16)), bytes(range(32)), bytes(range(32))
PAYLOAD = Sensitive(b"1//refresh-token-example")

ANY_OWNER = [
    DekOwner(tenant, level, owner)
    for tenant in ("t", "tu")
    for level, owner in ((Level.APPLICATION, ""), (Level.USER, "u"), (Level.USER, "uu"))
]
ANY_ROW = [
    (deployment, Binding(owner, record, field, version, provider))
    for deployment, owner, record, field, version, provider in itertools.product(
        ("d", "dt"),
        ANY_OWNER,
        ("r", "rr"),
        (Field.REFRESH_TOKEN, Field.ACCESS_TOKEN, Field.SECRET_VALUE),
        (1, 256),
        ("", "g"),
    )
]


def dek(owner: DekOwner = OWNER, key: bytes = KEY, dek_id: bytes = DEK_ID) -> Dek:
    return Dek(dek_id, owner, Sensitive(key))


def sealed(payload: Sensitive = PAYLOAD) -> bytes:
    return seal(DEPLOYMENT, dek(), BINDING, payload, MSG_ID)


def refusal(envelope: bytes, opener: Dek | None = None, binding: Binding = BINDING) -> VaultError:
    with pytest.raises(VaultError) as refused:
        open_envelope(DEPLOYMENT, opener or dek(), binding, envelope)
    return refused.value


def outcome(deployment: str, opener: Dek, binding: Binding, envelope: bytes) -> Reason | None:
    """Why it did not open; None where it did."""
    try:
        open_envelope(deployment, opener, binding, envelope)
    except VaultError as error:
        return error.reason
    return None


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32))
def test_round_trip(payload: bytes, msg_id: bytes) -> None:
    """Any payload comes back as it went in."""
    envelope = seal(DEPLOYMENT, dek(), BINDING, Sensitive(payload), msg_id)
    assert len(envelope) == 101 + len(payload)
    assert open_envelope(DEPLOYMENT, dek(), BINDING, envelope).reveal() == payload


def test_payload_bounds() -> None:
    """Empty and 65,536 bytes go through; one more is PAYLOAD_TOO_LARGE."""
    for size in (0, limits.PAYLOAD_MAX_BYTES):
        payload = os.urandom(size)
        assert open_envelope(DEPLOYMENT, dek(), BINDING, sealed(Sensitive(payload))).same_as(
            Sensitive(payload)
        )
    with pytest.raises(VaultError) as refused:
        sealed(Sensitive(bytes(limits.PAYLOAD_MAX_BYTES + 1)))
    assert refused.value.reason is Reason.PAYLOAD_TOO_LARGE


def test_every_swap_is_refused() -> None:
    """Over every pair of distinct rows, no envelope of one opens for the other.

    The DEK of both is the same key under the same id, so that the associated data alone is what
    holds them apart.
    """
    envelopes = [seal(d, dek(b.dek_owner), b, PAYLOAD, MSG_ID) for d, b in ANY_ROW]
    deks = {owner: dek(owner) for owner in ANY_OWNER}
    opened = 0
    for (sealed_for, envelope), (opened_for, (deployment, binding)) in itertools.product(
        enumerate(envelopes), enumerate(ANY_ROW)
    ):
        refused = outcome(deployment, deks[binding.dek_owner], binding, envelope)
        expected = None if sealed_for == opened_for else Reason.ENVELOPE_CORRUPT
        assert refused is expected, (ANY_ROW[sealed_for], ANY_ROW[opened_for])
        opened += refused is None
    assert opened == len(ANY_ROW)


def test_every_bit_counts() -> None:
    """An envelope with any one bit flipped is refused."""
    envelope = sealed()
    for bit in range(8 * len(envelope)):
        flipped = bytearray(envelope)
        flipped[bit // 8] ^= 1 << bit % 8
        assert refusal(bytes(flipped)).reason is Reason.ENVELOPE_CORRUPT, bit


def test_every_truncation_and_extension() -> None:
    """An envelope cut at either end, or with one byte more at either end, is refused."""
    envelope = sealed()
    wrong = [envelope[:size] for size in range(len(envelope))]
    wrong += [envelope[size:] for size in range(1, len(envelope))]
    wrong += [envelope + bytes([byte]) for byte in range(256)]
    wrong += [bytes([byte]) + envelope for byte in range(256)]
    wrong += [envelope + envelope]
    for data in wrong:
        assert refusal(data).reason is Reason.ENVELOPE_CORRUPT


def test_spliced_parts() -> None:
    """Parts of two envelopes of the same row do not make a third that opens."""
    first = sealed()
    second = seal(DEPLOYMENT, dek(), BINDING, Sensitive(b"x" * len(PAYLOAD)), MSG_ID[::-1])
    cuts = (0, 5, 21, 53, 85, len(first) - 16, len(first))
    parts = [slice(start, end) for start, end in itertools.pairwise(cuts)]
    for choice in itertools.product((first, second), repeat=len(parts)):
        data = b"".join(source[part] for source, part in zip(choice, parts, strict=True))
        if data not in (first, second):
            assert refusal(data).reason is Reason.ENVELOPE_CORRUPT


def test_one_text_for_all_causes() -> None:
    """Whatever is wrong, the refusal says the same, so that trying teaches nothing."""
    envelope = sealed()
    other = DekOwner("tenant-a", Level.USER, "user-43")
    causes = [
        refusal(b""),
        refusal(envelope[:-1]),
        refusal(b"TV\x01\x00\x02" + envelope[5:]),
        refusal(envelope, dek(key=bytes(32))),
        refusal(envelope, dek(dek_id=bytes(16))),
        refusal(envelope, dek(other)),
        refusal(envelope, dek(other), replace(BINDING, dek_owner=other)),
        refusal(envelope, binding=replace(BINDING, version=8)),
        refusal(envelope, binding=replace(BINDING, version=-1)),
        refusal(envelope, binding=replace(BINDING, provider="\ud800")),
    ]
    assert {(str(error), error.reason) for error in causes} == {
        (str(causes[0]), Reason.ENVELOPE_CORRUPT)
    }
    assert all(error.__cause__ is None for error in causes)


def test_sealing_for_another_owner() -> None:
    """A row of another tenant or owner is not sealed under this DEK."""
    for owner in ANY_OWNER:
        with pytest.raises(VaultError) as refused:
            seal(DEPLOYMENT, dek(), replace(BINDING, dek_owner=owner), PAYLOAD, MSG_ID)
        assert refused.value.reason is Reason.ENVELOPE_CORRUPT


def test_what_format_1_cannot_hold() -> None:
    """A msg_id of another size or a version outside u64 is INTERNAL: our own mistake."""
    for binding, msg_id in ((BINDING, MSG_ID[:-1]), (replace(BINDING, version=2**64), MSG_ID)):
        with pytest.raises(VaultError) as refused:
            seal(DEPLOYMENT, dek(), binding, PAYLOAD, msg_id)
        assert refused.value.reason is Reason.INTERNAL
