"""A code is presented once: what each answer leaves of it, and what becomes of unwanted tokens."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.spool import SpoolFault
from tests.fakes.token_endpoint import an_answer, an_id_token, as_consent
from tests.support.house import PROVIDER, House, refused
from tests.support.samples import a_profile
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.audit import AuditAction, Outcome
from vault_service.domain.errors import Reason
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.sensitive import Sensitive

ISSUER = "https://op.example"


@pytest.fixture
async def house() -> House:
    house = House()
    await house.register(subject_from="response:user")
    return house


def answered(status: int, body: bytes = b"", retry_after_s: float | None = None) -> HttpAnswer:
    return HttpAnswer(status, "application/json", Sensitive(body), retry_after_s)


def named(value: object) -> str:
    """A test's name, the same in every process: an answer itself is not printable."""
    if isinstance(value, HttpAnswer):
        return f"{value.status} of {len(value.body)} bytes"
    return str(value)


def fails(answer_class: AnswerClass) -> TokenEndpointError:
    return TokenEndpointError(answer_class)


@pytest.mark.parametrize(
    "answer",
    [
        fails(AnswerClass.IN_DOUBT),  # a timeout or reset after sending
        answered(500),
        answered(502, b"<html>"),
        answered(503),
        answered(503, b"", 7.0),  # a proxy may say so of a server that has worked
        answered(504),
        answered(100),
        answered(303),
        answered(302),
        answered(200),
        answered(200, b"<html>"),
        answered(200, b"{}"),
        answered(200, b'{"access_token": ""}'),
        answered(200, b'{"access_token": "a", "error": "odd"}'),
        answered(204),
        answered(404, b"<html>"),
        answered(403),
    ],
    ids=named,
)
async def test_code_that_may_have_been_taken_is_spent(
    house: House, answer: HttpAnswer | TokenEndpointError
) -> None:
    """Whatever does not prove that the code was left alone ends the state: the refusal says what
    to do, is not to be retried, and no later completion presents the code, in any process."""
    started = await house.started()
    house.endpoint.answers.append(answer)
    for process in (house, house, House.beside(house)):
        error = await refused(
            Reason.AUTHORIZATION_CODE_USED, process.complete(house.call(), house.callback(started))
        )
        assert "start a new authorization" in error.message
        assert (error.retryable, error.retry_after_s) == (False, None)
    other = house.callback(started, code=Sensitive(b"code-2"))
    await refused(Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), other))
    assert len(house.endpoint.posted("exchange_code")) == 1
    (record,) = house.records(AuditAction.AUTHORIZATION_ENDED)
    assert (record.outcome, record.reason) == (Outcome.ERROR, "AUTHORIZATION_CODE_USED")
    assert "provider_answer" in record.detail
    assert house.spool.folder.entries[house.spool.spool_id] == {}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answered(400, b'{"error": "invalid_grant"}'), Reason.AUTHORIZATION_CODE_EXPIRED),
        (answered(400, b'{"error": "invalid_request"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(400, b'{"error": "unauthorized_client"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(400, b'{"error": "bad_code"}'), Reason.CLIENT_MISCONFIGURED),
        # A 401 that speaks of the code or the request has authenticated the client before.
        (answered(401, b'{"error": "invalid_grant"}'), Reason.AUTHORIZATION_CODE_EXPIRED),
        (answered(401, b'{"error": "code_already_used"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(401, b'{"error": "bad_verification_code"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(401, b'{"error": "invalid_code"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(401, b'{"error": "bad_auth_code"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(401, b'{"error": "authorization_code_expired"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(401, b'{"error": "invalid_request"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(401, b'{"error": "access_denied"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(401, b'{"error": "server_error"}'), Reason.CLIENT_MISCONFIGURED),
    ],
    ids=named,
)
async def test_refused_code_is_spent(house: House, answer: HttpAnswer, reason: Reason) -> None:
    """A code or request that the provider refuses is refused for good, with the same words."""
    started = await house.started()
    house.endpoint.answers.append(answer)
    first = await refused(reason, house.complete(house.call(), house.callback(started)))
    assert first.recorded["provider_status"] == str(answer.status)
    house.clock.advance(26)
    again = await refused(reason, house.complete(house.call(), house.callback(started)))
    assert (again.message, again.retryable) == (first.message, False)
    other = house.callback(started, code=Sensitive(b"code-2"))
    await refused(Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), other))
    assert len(house.endpoint.ledger) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (fails(AnswerClass.NOT_SENT), Reason.PROVIDER_UNAVAILABLE),
        (answered(429), Reason.PROVIDER_RATE_LIMITED),
        (answered(200, b'{"error": "slow_down"}'), Reason.PROVIDER_RATE_LIMITED),
        (answered(401), Reason.CLIENT_MISCONFIGURED),
        (answered(401, b"<html>"), Reason.CLIENT_MISCONFIGURED),
        (answered(400, b'{"error": "invalid_client"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(401, b'{"error": "invalid_client"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(401, b'{"error": "unauthorized_client"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(401, b'{"error": "Unauthorized"}'), Reason.CLIENT_MISCONFIGURED),
        (answered(401, b'{"message": "no"}'), Reason.CLIENT_MISCONFIGURED),
    ],
    ids=named,
)
async def test_code_that_was_left_alone_can_be_presented(
    house: House, answer: HttpAnswer | TokenEndpointError, reason: Reason
) -> None:
    """Where nothing was sent, the rate limiter answered or the client was not authenticated, the
    same completion may be tried again; that it was given back is on record."""
    started = await house.started()
    house.endpoint.answers.append(answer)
    await refused(reason, house.complete(house.call(), house.callback(started)))
    assert len(house.records(AuditAction.CODE_EXCHANGE_GIVEN_BACK)) == 1
    assert (await house.complete(house.call(), house.callback(started))).grant.generation == 1
    assert len(house.records(AuditAction.CODE_EXCHANGE_STARTED)) == 2


async def test_exchange_is_on_record_before_it_is_sent(house: House) -> None:
    """When the code is on its way, that an exchange began is on record already."""
    started = await house.started()
    held = house.endpoint.hold()
    task = house.completing(started)
    await house.endpoint.arrived.wait()
    (record,) = house.records(AuditAction.CODE_EXCHANGE_STARTED)
    assert record.detail["owner"] == "u-1"
    held.set()
    await task


async def test_nothing_is_sent_without_a_place_for_the_answer(house: House) -> None:
    """A disk that takes nothing keeps the code from being presented, and uses nothing up."""
    started = await house.started()
    for fault in (SpoolFault.DISK_FULL, SpoolFault.IO_ERROR):
        house.spool.fault = fault
        error = await refused(
            Reason.STORE_UNREACHABLE, house.complete(house.call(), house.callback(started))
        )
        assert error.retryable
    assert house.endpoint.ledger == []
    house.spool.fault = None
    assert (await house.complete(house.call(), house.callback(started))).grant.generation == 1


async def test_mended_profile_reads_the_kept_answer(house: House) -> None:
    """An answer that could not be read is kept: once the profile places its members, the same
    completion brings the grant, without another request."""
    started = await house.started()
    body = json.dumps({"data": {"at": "at-9", "rt": "rt-9"}, "user": "sub-1"}).encode()
    house.endpoint.answers.append(answered(200, body))
    completing = house.callback(started)
    await refused(Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), completing))
    paths = {"access_token": "data.at", "refresh_token": "data.rt"}
    mended = a_profile(subject_from="response:user", token_paths=paths)
    await house.providers.put(house.call(), PROVIDER, mended)
    completed = await House.beside(house).complete(house.call(), completing)
    assert (await house.token(completed.grant.name)).value.reveal() == b"at-9"
    assert len(house.endpoint.ledger) == 1
    again = await house.complete(house.call(), completing)
    assert again.grant.name == completed.grant.name


async def test_kept_answer_is_read_for_ten_minutes_only(house: House) -> None:
    """After the time for replays a kept answer makes no grant any more."""
    started = await house.started()
    body = json.dumps({"data": {"at": "at-9"}}).encode()
    house.endpoint.answers.append(answered(200, body))
    await refused(
        Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), house.callback(started))
    )
    await house.providers.put(
        house.call(), PROVIDER, a_profile(token_paths={"access_token": "data.at"})
    )
    house.clock.advance(limits.COMPLETION_REPLAY_S + 1)
    await refused(
        Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), house.callback(started))
    )
    assert house.stores.tables.grants == {}


def foreign(refresh: str | None = "rt-9", **claims: Any) -> HttpAnswer:
    """Tokens with an id_token that has these claims; None leaves one out."""
    usual = {"iss": ISSUER, "aud": "crm-at-op", "exp": 4_102_444_800, "sub": "sub-1"}
    kept = {name: value for name, value in (usual | claims).items() if value is not None}
    answer = as_consent(an_answer("at-9", refresh), a_profile(), "crm-at-op", "")
    members = json.loads(answer.body.reveal()) | {"id_token": an_id_token(kept)}
    return replace(answer, body=Sensitive(json.dumps(members).encode()))


@pytest.mark.parametrize(
    ("claims", "what", "told"),
    [
        ({"iss": ISSUER + "/"}, "ISSUER", f"expected '{ISSUER}', came '{ISSUER}/'"),
        ({"iss": None}, "ISSUER", "another issuer"),
        ({"iss": "x\n" * 900}, "ISSUER", "came 'x"),
        ({"aud": ["other"]}, "AUDIENCE", "expected 'crm-at-op'"),
        ({"exp": 1}, "EXPIRY", "expired"),
        ({"exp": None}, "EXPIRY", "expired"),
        ({"nonce": "other"}, "NONCE", "nonce"),
        ({"sub": None}, "SUBJECT", "subject_from"),
        ({"sub": ["x"]}, "MALFORMED", "malformed"),
    ],
    ids=named,
)
async def test_tokens_of_a_refused_subject_are_revoked(
    claims: dict[str, Any], what: str, told: str
) -> None:
    """An id_token that is not believed is a permanent refusal with words of its own, and the tokens
    beside it are revoked at the provider, on record."""
    house = House()
    await house.register()
    started = await house.started(scopes=("mail",) if what != "NONCE" else ("openid",))
    house.endpoint.answers.append(foreign(**claims))
    for _ in range(2):
        error = await refused(
            Reason.ID_TOKEN_REFUSED, house.complete(house.call(), house.callback(started))
        )
        assert error.metadata["what"] == what
        assert told in error.message
        assert not error.retryable
        assert all(len(text) <= limits.TEXT_MAX_CHARS for text in error.metadata.values())
    assert len(house.endpoint.posted("exchange_code")) == 1
    assert [post.refresh_token for post in house.endpoint.posted("revoke")] == ["rt-9"]
    (ended,) = house.records(AuditAction.AUTHORIZATION_ENDED)
    assert (ended.reason, ended.detail["kept"]) == ("ID_TOKEN_REFUSED", "refresh_token")
    (done,) = house.records(AuditAction.PROVIDER_REVOCATION_DONE)
    assert done.resource.startswith("tenants/acme/authorizations/")
    assert house.stores.tables.grants == {}
    assert "rt-9" not in repr(house.stores.records) + repr(house.stores.tables.discarded)


async def test_access_token_alone_is_revoked(house: House) -> None:
    """Without a refresh token the access token is what is revoked (RFC 7009 takes both)."""
    await house.register()
    started = await house.started()
    house.endpoint.answers.append(foreign(None, iss="https://other.example"))
    await refused(Reason.ID_TOKEN_REFUSED, house.complete(house.call(), house.callback(started)))
    assert [post.access_token for post in house.endpoint.posted("revoke")] == ["at-9"]


async def test_revocation_is_tried_until_the_provider_takes_it(house: House) -> None:
    """A provider that is away when unwanted tokens are revoked is told later, by the worker."""
    await house.register()
    started = await house.started()
    house.endpoint.answers.append(foreign(iss="https://other.example"))
    house.endpoint.revocation_errors.extend([fails(AnswerClass.NOT_SENT)] * 2)
    await refused(Reason.ID_TOKEN_REFUSED, house.complete(house.call(), house.callback(started)))
    for wait_s in (31, 61):
        assert house.records(AuditAction.PROVIDER_REVOCATION_DONE) == []
        house.clock.advance(wait_s)
        assert await house.revoke_at_provider.due(house.call()) == 1
    assert len(house.records(AuditAction.PROVIDER_REVOCATION_DONE)) == 1
    assert house.stores.tables.discarded == {}
    house.clock.advance(3_600)
    assert await house.revoke_at_provider.due(house.call()) == 0


async def test_revocation_is_given_up_after_a_week(house: House) -> None:
    """What a provider would not take for seven days is given up, on record."""
    await house.register()
    started = await house.started()
    house.endpoint.answers.append(foreign(iss="https://other.example"))
    house.endpoint.revocation_errors.extend([fails(AnswerClass.NOT_SENT)] * 2)
    await refused(Reason.ID_TOKEN_REFUSED, house.complete(house.call(), house.callback(started)))
    house.clock.advance(limits.REVOCATION_KEEP_S + 1)
    assert await house.revoke_at_provider.due(house.call()) == 1
    assert len(house.records(AuditAction.PROVIDER_REVOCATION_ABANDONED)) == 1
    assert house.stores.tables.discarded == {}


async def test_refusal_does_not_wait_for_a_provider_that_hangs(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation endpoint that hangs delays the refusal for a moment only."""
    monkeypatch.setattr(limits, "DISCARD_WAIT_S", 0.01)
    await house.register()
    started = await house.started()
    house.endpoint.answers.append(foreign(iss="https://other.example"))
    revoking = asyncio.Event()
    revoke = house.endpoint.revoke

    async def hangs(*args: Any, **named: Any) -> None:
        await revoking.wait()
        await revoke(*args, **named)

    monkeypatch.setattr(house.endpoint, "revoke", hangs)
    await refused(Reason.ID_TOKEN_REFUSED, house.complete(house.call(), house.callback(started)))
    revoking.set()
    await house.flights.drain(5)
    assert len(house.endpoint.posted("revoke")) == 1


async def test_foreign_nonce_is_refused(house: House) -> None:
    """An id_token with the nonce of another authorization is not believed."""
    await house.register()
    first, second = await house.started(), await house.started()
    house.endpoint.authorize(first.url.replace(_challenge(first.url), _challenge(second.url)))
    error = await refused(
        Reason.ID_TOKEN_REFUSED, house.complete(house.call(), house.callback(second))
    )
    assert error.metadata == {"what": "NONCE"}


def _challenge(url: str) -> str:
    return url.partition("code_challenge=")[2].partition("&")[0]
