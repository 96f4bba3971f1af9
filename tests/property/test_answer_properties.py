"""Whatever a provider answers has exactly one class, and the lines that none may cross hold."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.support.presets import preset_profile
from tests.support.samples import a_profile
from vault_service.adapters.provider_catalog import presets
from vault_service.domain import limits
from vault_service.domain.answers import JUDGEMENTS, AnswerClass, Counted, TokenEndpointError
from vault_service.domain.error_codes import CLASS_BY_ERROR, NEVER_THE_GRANT
from vault_service.domain.http_answer import AnswerCorruptError, HttpAnswer
from vault_service.domain.provider import ErrorIn200, ProviderProfile
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import read_refresh

_ALL = [code + more for code in CLASS_BY_ERROR for more in ("", ": x")]
# A profile that calls every known code a verdict on the grant.
_HOSTILE = a_profile(
    error_codes=dict.fromkeys(_ALL, AnswerClass.INVALID_GRANT),
    error_in_200=ErrorIn200("error", dict.fromkeys(_ALL, AnswerClass.INVALID_GRANT)),
    token_paths={"access_token": "a.b"},
)
_PLACED = a_profile(
    error_code_paths=("error",), error_codes=dict.fromkeys(_ALL, AnswerClass.INVALID_GRANT)
)
PROFILES = st.sampled_from([a_profile(), _HOSTILE, _PLACED, *map(preset_profile, presets())])
STATUSES = st.integers(100, 599)
CODES = st.sampled_from(sorted(CLASS_BY_ERROR)) | st.text(max_size=80)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "error": CODES | st.none() | st.booleans() | st.dictionaries(st.just("code"), CODES),
        "error_description": st.sampled_from(["refresh_token is invalid", "x"]) | st.integers(),
        "reason": st.just("Invalid Token!") | st.none(),
        "ok": st.booleans() | st.none(),
        "access_token": st.sampled_from(["at", "", None, 5, "a b"]),
        "refresh_token": st.sampled_from(["rt", "", None, ["rt"]]),
        "expires_in": st.integers() | st.floats() | st.text(max_size=5),
        "authed_user": st.just({"access_token": "xoxp"}) | st.none(),
    },
)
BODIES = (
    st.binary(max_size=200)
    | MEMBERS.map(lambda members: json.dumps(members).encode())
    | st.sampled_from([b"", b"<html>", b"[]", b"null", b'{"a":1,"a":2}', b"[" * 5_000])
)
TYPES = st.sampled_from(["application/json", "text/html; charset=utf-8", "", "x" * 256, "é\ud800"])
DELAYS = st.none() | st.floats(0, limits.RETRY_AFTER_MAX_S).map(abs)
REFUSALS = st.sampled_from(["", "", "longer than 65536 bytes"])
CODINGS = st.sampled_from(["", "", "gzip", "utf-8", "gzip, deflate"])
ODDITIES = st.lists(st.sampled_from(["a folded header", "bytes beyond its end"])).map(
    lambda found: tuple(found[: limits.ODDITIES_MAX_COUNT])
)
ANSWERS = st.builds(
    HttpAnswer, STATUSES, TYPES, BODIES.map(Sensitive), DELAYS, REFUSALS, CODINGS, ODDITIES
)


def _class_of(answer: HttpAnswer, profile: ProviderProfile) -> AnswerClass | None:
    """The class, or None for tokens; whatever else is raised fails the test."""
    try:
        read_refresh(answer, profile, (Sensitive(b"a refresh token"),))
    except TokenEndpointError as error:
        return error.answer_class
    return None


@given(ANSWERS, PROFILES)
def test_every_answer_has_one_class(answer: HttpAnswer, profile: ProviderProfile) -> None:
    """Any status, bytes and headers give tokens or one class, the same each time; and each line
    holds: redirects never condemn, a 5xx only by a code at a place that the profile names, and
    never what may have counted; tokens come with a 2xx only, and a 2xx without them may have
    counted unless its code says otherwise."""
    found = _class_of(answer, profile)
    assert _class_of(answer, profile) is found
    status = answer.status
    if found is None:
        assert 200 <= status < 300
        return
    assert found is not AnswerClass.NOT_SENT
    judged = JUDGEMENTS[found]
    if judged.may_condemn:
        placed = status >= 500 and profile.error_code_paths
        assert 200 <= status < 300 or (400 <= status < 500 and status != 429) or placed
        assert judged.counted is Counted.NO
    if status >= 500 and not judged.may_condemn:
        assert found in (AnswerClass.IN_DOUBT, AnswerClass.RATE_LIMITED)
        assert (found is AnswerClass.RATE_LIMITED) is (
            status == 503 and answer.retry_after_s is not None
        )
    if status == 429:
        assert found is AnswerClass.RATE_LIMITED
    if found is AnswerClass.UNREADABLE_SUCCESS:
        assert 200 <= status < 300
    if found is AnswerClass.PROVIDER_FAULT and 200 <= status < 300:
        assert not answer.refusal


@given(
    st.integers(400, 499) | st.integers(200, 299),
    st.sampled_from([code + more for code in sorted(NEVER_THE_GRANT) for more in ("", ": x")]),
    MEMBERS,
    PROFILES,
)
def test_our_registration_never_touches_a_grant(
    status: int, code: str, members: dict[str, Any], profile: ProviderProfile
) -> None:
    """invalid_client and its kin condemn no grant, whatever stands beside them and whatever the
    profile says."""
    body = json.dumps({**members, "error": code}).encode()
    found = _class_of(HttpAnswer(status, "application/json", Sensitive(body)), profile)
    assert found is not None
    assert not JUDGEMENTS[found].may_condemn


@given(st.integers(500, 599), st.sampled_from(sorted(CLASS_BY_ERROR)), DELAYS, PROFILES)
def test_5xx_never_condemns(
    status: int, code: str, delay_s: float | None, profile: ProviderProfile
) -> None:
    """From 500 up no error code condemns a grant, unless the profile names its place."""
    assume(not profile.error_code_paths)
    body = Sensitive(json.dumps({"error": code, "ok": False}).encode())
    found = _class_of(HttpAnswer(status, "application/json", body, delay_s), profile)
    assert found is not None
    assert not JUDGEMENTS[found].may_condemn


@given(st.integers(200, 299), st.sampled_from(sorted(CLASS_BY_ERROR)), st.booleans())
def test_a_2xx_condemns_by_the_profile_only(status: int, code: str, ok: bool) -> None:
    """Without a table of the profile no code in a 2xx condemns a grant."""
    body = Sensitive(json.dumps({"error": code, "ok": ok}).encode())
    found = _class_of(HttpAnswer(status, "application/json", body), a_profile())
    assert found is not None
    assert not JUDGEMENTS[found].may_condemn


@given(ANSWERS)
@example(HttpAnswer(200, "", Sensitive(b"a" * limits.BODY_MAX_BYTES)))
@example(HttpAnswer(999, "x" * 256, Sensitive(b""), 0.0, "y" * 256))
def test_answers_read_back(answer: HttpAnswer) -> None:
    """An answer reads back from its bytes as it was, body included."""
    stored = answer.to_bytes()
    again = HttpAnswer.from_bytes(stored)
    assert again.body.same_as(answer.body)
    assert (again.content_encoding, again.oddities) == (answer.content_encoding, answer.oddities)
    assert (again.status, again.content_type, again.retry_after_s, again.refusal) == (
        answer.status,
        answer.content_type,
        answer.retry_after_s,
        answer.refusal,
    )
    assert again.to_bytes().same_as(stored)


def _read_or_refused(data: bytes) -> None:
    try:
        answer = HttpAnswer.from_bytes(Sensitive(data))
    except AnswerCorruptError:
        return
    # Format 1 is read, and written as format 2.
    assert data[0] == 1 or answer.to_bytes().reveal() == data


@given(st.binary(max_size=120))
def test_any_bytes_are_refused_or_read_back(data: bytes) -> None:
    """Bytes that are read as an answer are exactly its bytes; all others are refused."""
    _read_or_refused(data)
    _read_or_refused(b"\x01" + data)
    _read_or_refused(b"\x02" + data)


@given(ANSWERS, st.data())
def test_changed_bytes_are_refused_or_read_back(answer: HttpAnswer, data: st.DataObject) -> None:
    """Cut, lengthened or with a byte changed, they are refused or exactly another answer's."""
    stored = answer.to_bytes().reveal()
    cut = data.draw(st.integers(0, len(stored) - 1))
    _read_or_refused(stored[:cut])
    _read_or_refused(stored + b"\0")
    changed = bytearray(stored)
    changed[cut] ^= data.draw(st.integers(1, 255))
    _read_or_refused(bytes(changed))
