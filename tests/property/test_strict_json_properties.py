"""The strict parser against the standard one, on bytes of every kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.samples import a_profile
from vault_service.domain import limits
from vault_service.domain.answers import TokenEndpointError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import TokenAnswer
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.strict_json import JsonRefusedError, parse_object
from vault_service.domain.token_answer import read_refresh

TEXTS = st.text(max_size=20) | st.sampled_from(['"', "\\", '\\"', "[{", "}]", "\ud800", "a" * 70])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)
# Pieces of JSON in any order: close to the grammar, mostly outside it.
PIECES = st.lists(
    st.sampled_from(
        ["{", "}", "[", "]", ",", ":", '"', "\\", '"a"', '"b"', "1", "-", "1e999", "NaN", "\\u"]
    ),
    max_size=40,
).map("".join)
MEMBERS = st.sampled_from(
    ["access_token", "refresh_token", "expires_in", "scope", "token_type", "error", "ok"]
)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _check(body: bytes) -> None:
    try:
        value = parse_object(body)
    except JsonRefusedError:
        return
    assert value == json.loads(body)
    assert _depth(value) <= limits.JSON_DEPTH_MAX


@given(st.binary(max_size=300) | PIECES.map(str.encode))
@example(b'{"a":"\\')
@example(b'{"a":"' + b'\\"' * 50)
@example(b"\xef\xbb\xbf{}")
def test_any_bytes(body: bytes) -> None:
    """Any bytes are refused with the parser's own error or read as the standard parser does."""
    _check(body)


@given(OBJECTS, st.booleans())
def test_objects_are_accepted(value: dict[str, Any], ascii_only: bool) -> None:
    """Every object of finite numbers within the bounds is accepted and read alike."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    body = text.encode("utf-8", "replace")
    _check(body)
    fits = _depth(value) <= limits.JSON_DEPTH_MAX and "NaN" not in text and "Infinity" not in text
    # A surrogate that is replaced may make two members equal.
    if fits and body == text.encode("utf-8", "surrogatepass"):
        assert parse_object(body) == json.loads(body)


@given(OBJECTS.filter(bool), st.data())
def test_a_member_twice_is_refused(value: dict[str, Any], data: st.DataObject) -> None:
    """An object with any member repeated is refused, at whatever place the second one stands."""
    pairs = [*value.items(), data.draw(st.sampled_from(sorted(value.items(), key=str)))]
    mixed = data.draw(st.permutations(pairs))
    body = ",".join(f"{json.dumps(name)}:{json.dumps(member)}" for name, member in mixed)
    with pytest.raises(JsonRefusedError):
        parse_object(f"{{{body}}}".encode())


@given(st.integers(limits.JSON_DEPTH_MAX, 9_000), st.sampled_from([("[", "]"), ('{"a":', "}")]))
def test_depth_is_refused_before_it_recurses(depth: int, brackets: tuple[str, str]) -> None:
    """Nesting of any depth beyond the bound is refused without a RecursionError."""
    opening, closing = brackets
    with pytest.raises(JsonRefusedError, match="nested deeper"):
        parse_object(f'{{"x":{opening * depth}0{closing * depth}}}'.encode())


@given(
    st.integers(100, 599),
    st.dictionaries(MEMBERS, VALUES, max_size=7).map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=50),
    TEXTS,
    st.none() | st.floats(0, 3_600),
)
def test_read_refresh_fails_one_way(
    status: int, body: bytes, content_type: str, retry_after_s: float | None
) -> None:
    """Whatever is answered gives tokens within their bounds or a TokenEndpointError."""
    try:
        tokens = read_refresh(
            HttpAnswer(status, content_type, Sensitive(body), retry_after_s), a_profile(), ()
        )
    except TokenEndpointError as caught:
        code = caught.error
    else:
        _check_tokens(status, tokens)
        return
    assert code.isascii()
    assert code.isprintable()
    assert len(code) <= limits.ERROR_CODE_MAX_CHARS


def _check_tokens(status: int, tokens: TokenAnswer) -> None:
    assert 200 <= status < 300
    assert 1 <= len(tokens.access_token) <= limits.TOKEN_MAX_BYTES
    assert 0 <= (tokens.expires_in_s or 0) <= limits.TOKEN_LIFE_MAX_S
