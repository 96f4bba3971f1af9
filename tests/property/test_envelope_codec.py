"""Parsing is strict and not malleable, and no two facts make the same bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_service.crypto import codec
from vault_service.crypto.bind import associated_data, transit_context
from vault_service.domain import limits
from vault_service.domain.envelope import Binding, DekOwner, Field, Level
from vault_service.domain.errors import Reason, VaultError

TEXTS = st.text("abc\x00/", max_size=4)
OWNERS = st.one_of(
    st.builds(DekOwner, TEXTS, st.just(Level.APPLICATION), st.just("")),
    st.builds(DekOwner, TEXTS, st.just(Level.USER), st.text("abc\x00/", min_size=1, max_size=4)),
)
BINDINGS = st.builds(
    Binding, OWNERS, TEXTS, st.sampled_from(Field), st.integers(0, 2**64 - 1), TEXTS
)


def _refused(data: bytes) -> bool:
    with pytest.raises(VaultError) as refused:
        codec.parse(data)
    return refused.value.reason is Reason.ENVELOPE_CORRUPT


@given(st.binary(min_size=96, max_size=400))
def test_what_parses_serialises_back(tail: bytes) -> None:
    """What parses serialises to the same bytes."""
    data = codec.PREFIX + tail
    assert codec.parse(data).serialize() == data


@given(st.binary(max_size=200))
def test_anything_parses_back_or_is_corrupt(data: bytes) -> None:
    """Arbitrary bytes either serialise back to themselves or are ENVELOPE_CORRUPT."""
    try:
        back: bytes | Reason = codec.parse(data).serialize()
    except VaultError as error:
        back = error.reason
    assert back in (data, Reason.ENVELOPE_CORRUPT)


@pytest.mark.parametrize("prefix", [b"TW\x01\x00\x01", b"TV\x02\x00\x01", b"TV\x01\x00\x02"])
def test_unknown_format_and_suite(prefix: bytes) -> None:
    """Another magic, format or suite than the allowed one is refused."""
    assert _refused(prefix + bytes(200))


def test_length_bounds() -> None:
    """The shortest and the longest envelope parse; one byte less and one more do not."""
    shortest = codec.PREFIX + bytes(codec.ENVELOPE_MIN_BYTES - len(codec.PREFIX))
    longest = shortest + bytes(limits.PAYLOAD_MAX_BYTES)
    assert len(shortest) == 101
    assert codec.parse(shortest).serialize() == shortest
    assert codec.parse(longest).serialize() == longest
    assert _refused(shortest[:-1])
    assert _refused(longest + b"\x00")


@given(TEXTS, BINDINGS, TEXTS, BINDINGS)
def test_associated_data_is_injective(
    deployment: str, binding: Binding, other_deployment: str, other: Binding
) -> None:
    """Two rows have the same associated data exactly when they are the same row."""
    same_row = (deployment, binding) == (other_deployment, other)
    same_bytes = associated_data(deployment, binding) == associated_data(other_deployment, other)
    assert same_bytes is same_row


@given(TEXTS, st.binary(max_size=4), OWNERS, TEXTS, st.binary(max_size=4), OWNERS)
def test_transit_context_is_injective(
    deployment: str, dek_id: bytes, owner: DekOwner, deployment2: str, id2: bytes, owner2: DekOwner
) -> None:
    """Two DEKs have the same transit context exactly when they are the same row."""
    same_row = (deployment, dek_id, owner) == (deployment2, id2, owner2)
    first, second = (
        transit_context(deployment, dek_id, owner),
        transit_context(deployment2, id2, owner2),
    )
    assert (first == second) is same_row


@pytest.mark.parametrize("version", [-1, 2**64])
def test_version_outside_u64(version: int) -> None:
    """A version that does not fit u64 is refused rather than wrapped around."""
    binding = Binding(DekOwner("t", Level.APPLICATION, ""), "r", Field.SECRET_VALUE, version)
    with pytest.raises(ValueError, match="u64"):
        associated_data("dep-1", binding)
