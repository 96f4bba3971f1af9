"""Judging a token endpoint's answer: whose fault it is, and what is in it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.samples import a_profile
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import TokenAnswer
from vault_service.domain.provider_subject import (
    SubjectRefusal,
    SubjectRefusedError,
    read_subject,
)
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.strict_json import JsonRefusedError, parse_object
from vault_service.domain.token_answer import (
    Expected,
    read_refresh,
    read_revocation,
    read_subject_of,
    read_tokens,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ISSUER = "https://issuer.example"
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "client-1",
    "sub": "user-1",
    "nonce": "n-1",
    "exp": int(NOW.timestamp()) + 60,
}


def _tokens(**members: object) -> TokenAnswer:
    body = json.dumps({"access_token": "at", **members}).encode()
    return read_refresh(_json_answer(body), a_profile(), ())


def _json_answer(body: bytes, status: int = 200, retry_after_s: float | None = None) -> HttpAnswer:
    return HttpAnswer(status, "application/json", Sensitive(body), retry_after_s)


def test_full_answer() -> None:
    """All members of RFC 6749 §5.1 are read."""
    answer = _tokens(refresh_token="rt", token_type="bearer", expires_in=3600, scope="a b")
    assert answer.refresh_token is not None
    assert answer.refresh_token.reveal() == b"rt"
    assert (answer.token_type, answer.expires_in_s) == ("Bearer", 3_600)
    assert (answer.scopes, answer.subject) == (("a", "b"), None)


def test_minimal_answer() -> None:
    """What is omitted is None, and the type is Bearer."""
    answer = _tokens()
    assert (answer.refresh_token, answer.expires_in_s, answer.scopes) == (None, None, None)
    assert answer.token_type == "Bearer"


@pytest.mark.parametrize(
    ("value", "life_s"),
    [
        (3600, 3_600),
        ("3599", 3_599),
        (3600.0, 3_600),
        (59.9, 59),
        ("60.0", 60),
        (0, 0),
        (-1, 0),
        ("-5", 0),
        (31_536_001, 31_536_000),
        (10**300, 31_536_000),
        (1e308, 31_536_000),
        ("9" * 400, 31_536_000),
        ("9" * 401, None),
        ("soon", None),
        ("", None),
        (" 60", 60),
        ("59.5", 59),
        ("1e3", None),
        ("٣", None),
        (True, None),
        (None, None),
        ([60], None),
    ],
)
def test_expires_in(value: object, life_s: int | None) -> None:
    """A life is a number or its text, 0 to a year; what is unusable counts as omitted."""
    assert _tokens(expires_in=value).expires_in_s == life_s


@pytest.mark.parametrize(
    ("value", "separator", "scopes"),
    [
        ("a b", " ", ("a", "b")),
        ("a  b a", " ", ("a", "b")),
        ("a,b", ",", ("a", "b")),
        ("a, b", ",", ("a", "b")),
        ("", " ", ()),
        (["a", "b"], " ", ("a", "b")),
        (["a", 5], " ", None),
        (5, " ", None),
        (None, " ", None),
        ("a\u00fc", " ", None),
        ("a" * 257, " ", None),
        (" ".join(f"s{n}" for n in range(100)), " ", tuple(f"s{n}" for n in range(100))),
        (" ".join(f"s{n}" for n in range(101)), " ", None),
    ],
)
def test_scopes(value: object, separator: str, scopes: tuple[str, ...] | None) -> None:
    """Scopes are split as the profile says; what is malformed counts as omitted."""
    body = json.dumps({"access_token": "at", "scope": value}).encode()
    answer = read_refresh(_json_answer(body), a_profile(scope_separator=separator), ())
    assert answer.scopes == scopes


@pytest.mark.parametrize(
    ("value", "token_type"),
    [
        ("BEARER", "Bearer"),
        ("bot", "bot"),
        ("DPoP", "DPoP"),
        (None, "Bearer"),
        (5, "Bearer"),
        ("a\r\nb", "Bearer"),
        ("x" * 33, "Bearer"),
    ],
)
def test_token_type(value: object, token_type: str) -> None:
    """Bearer has one spelling; other types are kept as the provider spells them."""
    assert _tokens(token_type=value).token_type == token_type


def _id_token(claims: object = CLAIMS, signature: str = "c2ln") -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "ES256"}, claims))
    head, payload = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return f"{head}.{payload}.{signature}"


def _subject(id_token: object, claim: str = "sub", nonce: str = "n-1") -> str | None:
    return read_subject(
        f"id_token:{claim}",
        {"id_token": id_token},
        issuer=ISSUER,
        client_id="client-1",
        nonce=nonce,
        now=NOW,
    )


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"aud": ["other", "client-1"]},
        {"exp": NOW.timestamp() - 299},
        {"padding": "x" * 1_000},
    ],
    ids=str,
)
def test_subject_of_an_id_token(changed: dict[str, Any]) -> None:
    """An id_token of this issuer, for us, in time and with our nonce names the subject."""
    assert _subject(_id_token({**CLAIMS, **changed})) == "user-1"


def test_nonce_counts_only_where_one_was_sent() -> None:
    """Without a nonce of ours the claim is not looked at."""
    assert _subject(_id_token({**CLAIMS, "nonce": "other"}), nonce="") == "user-1"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": ISSUER + "/"},
        {"iss": None},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": {"client-1": 1}},
        {"aud": None},
        {"aud": "client-1 other"},
        {"exp": NOW.timestamp() - 300},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": None},
        {"nonce": "other"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"sub": True},
        {"sub": ["user-1"]},
        {"sub": "x" * 256},
        {"sub": "\u00fc"},
        {"sub": "a\nb"},
    ],
    ids=str,
)
def test_id_tokens_that_are_not_believed(changed: dict[str, Any]) -> None:
    """An id_token that is of or for somebody else, late, or without a usable subject is refused."""
    with pytest.raises(SubjectRefusedError):
        _subject(_id_token({**CLAIMS, **changed}))


@pytest.mark.parametrize(
    "id_token",
    [
        5,
        "",
        "a.b",
        "a.b.c.d.e",
        "..",
        "a.b+c.d",
        "a.bbbbb.c",
        "a.eyJ9.c",
        _id_token([CLAIMS]),
        _id_token({**CLAIMS, "deep": [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}),
        "a." + "A" * limits.TOKEN_MAX_BYTES + ".c",
    ],
    ids=lambda value: str(value)[:20],
)
def test_malformed_id_tokens(id_token: object) -> None:
    """What is not a signed JWT within bounds is refused."""
    with pytest.raises(SubjectRefusedError):
        _subject(id_token)


def test_absent_subject_is_none() -> None:
    """Without an id_token, or without the member, the subject is not known."""
    assert _subject(None) is None
    assert _response("account_id", {}) is None


def _response(member: str, members: Mapping[str, Any]) -> str | None:
    return read_subject(
        f"response:{member}", members, issuer=ISSUER, client_id="", nonce="", now=NOW
    )


def test_subject_of_a_member() -> None:
    """A member of the answer, or its path, names the subject, as text or as a number."""
    assert _response("account_id", {"account_id": "acc-1"}) == "acc-1"
    assert _response("user_id", {"user_id": 583231}) == "583231"
    assert _response("team.id", {"team": {"id": "T1"}}) == "T1"
    assert _response("team.id", {"team": {"id": "T1"}, "team.id": "T2"}) == "T2"
    assert _response("team.id", {"team": None}) is None
    with pytest.raises(SubjectRefusedError):
        _response("user", {"user": {"id": 5}})


def test_wrong_subject_loses_no_tokens() -> None:
    """A foreign id_token refuses the subject, never the tokens beside it, which must be revoked."""
    body = json.dumps({"access_token": "at", "id_token": _id_token({**CLAIMS, "iss": "x"})})
    answer = _json_answer(body.encode())
    profile = a_profile(issuer=ISSUER)
    assert read_tokens(answer, profile, ()).access_token.reveal() == b"at"
    with pytest.raises(SubjectRefusedError) as caught:
        read_subject_of(answer, profile, Expected("client-1", "n-1", NOW))
    assert (caught.value.kind, caught.value.expected, caught.value.came) == (
        SubjectRefusal.ISSUER,
        ISSUER,
        "x",
    )


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"iss": ISSUER + "/"}, SubjectRefusal.ISSUER),
        ({"iss": None}, SubjectRefusal.ISSUER),
        ({"iss": ["x" * 1_000]}, SubjectRefusal.ISSUER),
        ({"aud": "other"}, SubjectRefusal.AUDIENCE),
        ({"aud": ["a", {"b": 1}]}, SubjectRefusal.AUDIENCE),
        ({"exp": 1}, SubjectRefusal.EXPIRED),
        ({"exp": "soon"}, SubjectRefusal.EXPIRED),
        ({"nonce": "other"}, SubjectRefusal.NONCE),
        ({"sub": None}, SubjectRefusal.MISSING),
        ({"sub": ""}, SubjectRefusal.MISSING),
        ({"sub": ["user-1"]}, SubjectRefusal.MALFORMED),
        ({"sub": "x" * 256}, SubjectRefusal.MALFORMED),
    ],
    ids=str,
)
def test_each_refusal_has_its_kind(changed: dict[str, Any], kind: SubjectRefusal) -> None:
    """What is wrong with a subject has one word each, and what came is bounded."""
    with pytest.raises(SubjectRefusedError) as caught:
        _subject(_id_token({**CLAIMS, **changed}))
    assert caught.value.kind is kind
    assert len(caught.value.came) <= limits.TEXT_MAX_CHARS


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"OK"),
        (200, b"{}"),
        (200, b'{"ok":true,"revoked":true}'),
        (204, b""),
        (400, b'{"error":"invalid_token"}'),
    ],
)
def test_revocation_done(status: int, body: bytes) -> None:
    """A 200 of any body is success (RFC 7009 §2.2), and so is a token that is unknown already."""
    read_revocation(_json_answer(body, status), a_profile(), ())


@pytest.mark.parametrize(
    ("status", "body", "retry_after_s", "expected"),
    [
        (400, b'{"error":"unsupported_token_type"}', None, AnswerClass.REQUEST_REFUSED),
        (400, b'{"error":"invalid_client"}', None, AnswerClass.CLIENT_REFUSED),
        (401, b"", None, AnswerClass.CLIENT_REFUSED),
        (200, b'{"ok":false,"error":"invalid_auth"}', None, AnswerClass.REQUEST_REFUSED),
        (404, b"<html>", None, AnswerClass.PROVIDER_FAULT),
        (302, b"", None, AnswerClass.PROVIDER_FAULT),
        (500, b'{"error":"invalid_token"}', None, AnswerClass.IN_DOUBT),
        (503, b"", None, AnswerClass.IN_DOUBT),
        (503, b"", 5.0, AnswerClass.RATE_LIMITED),
        (429, b"", None, AnswerClass.RATE_LIMITED),
    ],
)
def test_revocation_not_done(
    status: int, body: bytes, retry_after_s: float | None, expected: AnswerClass
) -> None:
    """Every other answer to a revocation has its class."""
    with pytest.raises(TokenEndpointError) as caught:
        read_revocation(_json_answer(body, status, retry_after_s), a_profile(), ())
    assert caught.value.answer_class is expected


@pytest.mark.parametrize(
    "body", [b'"' + b'\\"' * 32_000, b'"\\', b"[" * 65_536, b'{"a":' * 13_000, b'"' * 65_536]
)
def test_hostile_bodies_are_refused_fast(body: bytes) -> None:
    """A body made to cost time or stack is refused within a fraction of a second."""
    start = time.monotonic()
    with pytest.raises(JsonRefusedError):
        parse_object(body)
    assert time.monotonic() - start < 0.5


def test_of_two_contents_the_whole_one_is_read() -> None:
    """Where the framing cuts a body short, what came beyond it completes it."""
    body = Sensitive(b'{"access_token":"at","refresh_token":"rt"}')
    for framed in range(len(body)):
        answer = HttpAnswer(200, "application/json", body, framed_bytes=framed)
        read = read_refresh(answer, a_profile(), ())
        assert read.refresh_token is not None
        assert (read.refresh_token.reveal(), read.oddities) == (b"rt", ())
