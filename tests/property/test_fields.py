"""Request fields and the rules of min_ttl."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import effective_min_ttl_s, min_ttl_reachable, needs_refresh
from vault_service.rpc import fields

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.text(max_size=40), st.integers(0, 30), st.booleans())
def test_text(value: str, max_chars: int, optional: bool) -> None:
    """A text is given back unchanged, or refused naming its field: never cut, never folded."""
    sound = value.isascii() and value.isprintable() and len(value) <= max_chars
    if sound and (value or optional):
        assert fields.text("owner", value, max_chars, optional=optional) == value
        return
    with pytest.raises(VaultError) as caught:
        fields.text("owner", value, max_chars, optional=optional)
    assert caught.value.reason is Reason.FIELD_MALFORMED
    assert caught.value.metadata == {"field": "owner"}
    assert len(value) < 3 or value not in caught.value.message


@given(st.lists(st.text(max_size=6), max_size=8))
def test_scopes(values: list[str]) -> None:
    """Scopes come back each once in their order; one that RFC 6749 does not know refuses all."""
    legal = all(
        value and all(c in "!" or "#" <= c <= "[" or "]" <= c <= "~" for c in value)
        for value in values
    )
    if legal:
        assert fields.scopes(values) == tuple(dict.fromkeys(values))
        return
    with pytest.raises(VaultError) as caught:
        fields.scopes(values)
    assert caught.value.reason is Reason.SCOPE_MALFORMED


@pytest.mark.parametrize(
    "values",
    [
        [f"s{n}" for n in range(limits.SCOPES_MAX_COUNT + 1)],
        ["s" * (limits.SCOPE_MAX_CHARS + 1)],
        ["a b"],
        ['"'],
        ["\\"],
        [""],
        ["ü"],
    ],
)
def test_scope_bounds(values: list[str]) -> None:
    """At most 100 scopes of at most 256 characters, each without space, quote or backslash."""
    with pytest.raises(VaultError) as caught:
        fields.scopes(values)
    assert caught.value.reason is Reason.SCOPE_MALFORMED


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_min_ttl(seconds: int, nanos: int) -> None:
    """Whatever a Duration holds, min_ttl is 0 to 86,400 s or out of range."""
    asked = Duration(seconds=seconds, nanos=nanos)
    if 0 <= seconds + nanos / 1e9 <= limits.MIN_TTL_MAX_S:
        assert fields.min_ttl_s(asked) == seconds + nanos / 1e9
        return
    with pytest.raises(VaultError) as caught:
        fields.min_ttl_s(asked)
    assert caught.value.reason is Reason.MIN_TTL_OUT_OF_RANGE


def test_unset_min_ttl() -> None:
    """Unset is not zero."""
    assert fields.min_ttl_s(None) is None
    assert fields.min_ttl_s(Duration()) == 0


@given(st.integers(-(2**31), 2**31 - 1))
def test_page_size(value: int) -> None:
    """0 is 50, more than 500 is 500, less than 0 is refused."""
    if value < 0:
        with pytest.raises(VaultError) as caught:
            fields.page_size(value)
        assert caught.value.reason is Reason.FIELD_MALFORMED
    else:
        assert fields.page_size(value) == min(value or 50, 500)


@given(st.floats(0, 86_400), st.integers(0, limits.TOKEN_LIFE_MAX_S))
def test_asked_min_ttl_counts(asked_s: float, life_s: int) -> None:
    """What was asked is never changed; it is reachable up to 90 % of the life last issued."""
    assert effective_min_ttl_s(asked_s, life_s) == asked_s
    assert min_ttl_reachable(asked_s, life_s) == (asked_s <= life_s * 0.9)


@given(st.integers(0, limits.TOKEN_LIFE_MAX_S))
def test_default_min_ttl(life_s: int) -> None:
    """Unasked, 60 s or half of the life, whichever is less: always reachable."""
    wanted_s = effective_min_ttl_s(None, life_s)
    assert wanted_s == min(60, life_s / 2)
    assert min_ttl_reachable(wanted_s, life_s)


@given(st.floats(-1e6, 1e6), st.floats(0, 86_400))
def test_needs_refresh(left_s: float, min_ttl_s: float) -> None:
    """A token is good when it lives and has min_ttl left; without a moment it never is."""
    expire_time = NOW + timedelta(seconds=left_s)
    left = expire_time - NOW
    good = left > timedelta(0) and left >= timedelta(seconds=min_ttl_s)
    assert needs_refresh(expire_time, NOW, min_ttl_s) is not good
    assert needs_refresh(None, NOW, min_ttl_s)
