"""ports.TokenEndpoint over TLS, against a scripted authorization server."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.https_server import (
    DevCertificates,
    Request,
    Server,
    make_certificates,
    reply,
    reset,
    serve,
)
from vault_service.adapters.oauth import OAuthTokenEndpoint
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.consent import TokenKind
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import ClientAuthMethod, ClientCredential
from vault_service.domain.provider import BodyEncoding, ProviderProfile
from vault_service.domain.provider_subject import SubjectRefusal, SubjectRefusedError
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import Expected, read_refresh, read_subject_of, read_tokens
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard
from vault_service.ports import TokenEndpoint

SECRET = "p@ss word+%/&=€:~*"
CODE, VERIFIER, REFRESH = "co/de+1=", "verifier-._~", "rt-0123456789-abcdef"
METHOD = ClientAuthMethod
BASIC = ClientCredential("id:ü 1", Sensitive.from_text(SECRET), METHOD.CLIENT_SECRET_BASIC)
POST = replace(BASIC, auth_method=METHOD.CLIENT_SECRET_POST)
TOKENS = b'{"access_token":"at","token_type":"bearer","expires_in":60,"refresh_token":"rt2"}'


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> DevCertificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def server(certificates: DevCertificates) -> AsyncIterator[Server]:
    async with serve(reply(TOKENS), certificates) as state:
        yield state


@pytest.fixture
def profile(server: Server) -> ProviderProfile:
    base = f"https://{server.authority}"
    return ProviderProfile(base, f"{base}/authorize", f"{base}/token", f"{base}/revoke")


@pytest.fixture
async def endpoint(
    server: Server, certificates: DevCertificates
) -> AsyncIterator[OAuthTokenEndpoint]:
    http = HttpClient(EgressGuard([server.authority]), certificates.ca_file)
    yield OAuthTokenEndpoint(http, FakeClock())
    await http.close()


async def _refresh(
    endpoint: TokenEndpoint,
    profile: ProviderProfile,
    client: ClientCredential = BASIC,
    limit_s: float = 20.0,
) -> TokenEndpointError:
    refresh_token = Sensitive.from_text(REFRESH)
    try:
        answer = await endpoint.refresh(
            profile,
            client,
            token_endpoint=profile.token_endpoint,
            refresh_token=refresh_token,
            post_limit_s=limit_s,
            answer_limit_s=limit_s,
        )
    except TokenEndpointError as error:
        return error
    with pytest.raises(TokenEndpointError) as caught:
        read_refresh(answer, profile, (refresh_token, client.client_secret))
    return caught.value


async def _exchange(
    endpoint: TokenEndpoint, profile: ProviderProfile, client: ClientCredential = BASIC
) -> str | None:
    answer = await endpoint.exchange_code(
        profile,
        client,
        code=Sensitive.from_text(CODE),
        redirect_uri="https://app.example/cb?a=b",
        verifier=Sensitive.from_text(VERIFIER),
    )
    assert read_tokens(answer, profile, ()).access_token.reveal() == b"at"
    return read_subject_of(answer, profile, Expected(client.client_id, "n-1", FakeClock().now()))


async def test_basic_is_encoded_before_base64(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile
) -> None:
    """client_secret_basic encodes id and secret as a form first (RFC 6749 §2.3.1)."""
    await _exchange(endpoint, profile)
    pair = b"id%3A%C3%BC+1:p%40ss+word%2B%25%2F%26%3D%E2%82%AC%3A~%2A"
    request = server.requests[0]
    assert request.header("Authorization") == "Basic " + base64.b64encode(pair).decode()
    assert request.body == (
        b"grant_type=authorization_code&code=co%2Fde%2B1%3D"
        b"&redirect_uri=https%3A%2F%2Fapp.example%2Fcb%3Fa%3Db&code_verifier=verifier-._~"
    )


async def test_post_sends_the_credential_in_the_body(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile
) -> None:
    """client_secret_post has id and secret in the form and no Authorization header."""
    await _exchange(endpoint, profile, POST)
    request = server.requests[0]
    assert request.header("Authorization") is None
    assert request.body.endswith(
        b"&client_id=id%3A%C3%BC+1&client_secret=p%40ss+word%2B%25%2F%26%3D%E2%82%AC%3A~%2A"
    )
    assert dict(parse_qsl(request.body.decode()))["client_secret"] == SECRET


async def test_refresh_goes_to_the_pinned_endpoint(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile
) -> None:
    """A refresh posts to the grant's own endpoint, whatever the profile says by now."""
    answer = await endpoint.refresh(
        replace(profile, token_endpoint="https://moved.example/token"),
        BASIC,
        token_endpoint=f"https://{server.authority}/pinned",
        refresh_token=Sensitive.from_text(REFRESH),
        post_limit_s=20.0,
        answer_limit_s=20.0,
    )
    assert server.requests[0].head.startswith("POST /pinned HTTP/1.1")
    assert server.requests[0].body == b"grant_type=refresh_token&refresh_token=rt-0123456789-abcdef"
    assert (answer.status, answer.body.reveal()) == (200, TOKENS)


async def test_refresh_returns_what_came(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile
) -> None:
    """A refusal is returned as it came too, to be stored before it is read."""
    body = b'{"error":"invalid_grant"}'
    server.behaviour = reply(body, "400 Bad", extra="Retry-After: 9\r\n")
    answer = await endpoint.refresh(
        profile,
        BASIC,
        token_endpoint=profile.token_endpoint,
        refresh_token=Sensitive.from_text(REFRESH),
        post_limit_s=20.0,
        answer_limit_s=20.0,
    )
    assert (answer.status, answer.body.reveal(), answer.retry_after_s) == (400, body, 9.0)
    assert HttpAnswer.from_bytes(answer.to_bytes()).body.reveal() == body


async def test_scopes_are_named_where_they_must_be(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile
) -> None:
    """A refresh names its scopes only where the profile requires it, with its separator."""
    for required in (False, True):
        await endpoint.refresh(
            replace(profile, requires_scope_on_refresh=required, scope_separator=","),
            BASIC,
            token_endpoint=profile.token_endpoint,
            refresh_token=Sensitive.from_text(REFRESH),
            post_limit_s=20.0,
            answer_limit_s=20.0,
            scopes=("a", "b"),
        )
    sent = [dict(parse_qsl(request.body.decode())) for request in server.requests]
    assert [fields.get("scope") for fields in sent] == [None, "a,b"]


@pytest.mark.parametrize("client", [BASIC, POST], ids=["basic", "post"])
async def test_json_requests(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile, client: ClientCredential
) -> None:
    """Where the profile says JSON, codes and refresh tokens go out as one object of texts."""
    spoken = replace(profile, body_encoding=BodyEncoding.JSON)
    await _exchange(endpoint, spoken, client)
    await endpoint.refresh(
        spoken,
        client,
        token_endpoint=profile.token_endpoint,
        refresh_token=Sensitive.from_text(REFRESH),
        post_limit_s=20.0,
        answer_limit_s=20.0,
    )
    secret = {"client_id": client.client_id, "client_secret": SECRET} if client is POST else {}
    assert [json.loads(request.body) for request in server.requests] == [
        {
            "grant_type": "authorization_code",
            "code": CODE,
            "redirect_uri": "https://app.example/cb?a=b",
            "code_verifier": VERIFIER,
            **secret,
        },
        {"grant_type": "refresh_token", "refresh_token": REFRESH, **secret},
    ]
    for request in server.requests:
        assert request.header("Content-Type") == "application/json"
        assert (request.header("Authorization") is None) is (client is POST)


async def test_subject_comes_from_the_id_token(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile
) -> None:
    """A code exchange reads the subject of an id_token with our issuer, client_id and nonce."""
    claims = {
        "iss": profile.issuer,
        "aud": BASIC.client_id,
        "sub": "u-1",
        "nonce": "n-1",
        "exp": FakeClock().now().timestamp() + 60,
    }
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    body = json.dumps({"access_token": "at", "id_token": f"e30.{payload}.c2ln"}).encode()
    server.behaviour = reply(body)
    assert await _exchange(endpoint, profile) == "u-1"
    with pytest.raises(SubjectRefusedError) as caught:
        await _exchange(endpoint, replace(profile, issuer="https://other.example"))
    assert caught.value.kind is SubjectRefusal.ISSUER


@pytest.mark.parametrize(
    ("body", "status", "kind", "expected"),
    [
        (b"<html>canary</html>", "200 OK", "text/html", AnswerClass.UNREADABLE_SUCCESS),
        (b"canary", "500 Oops", "text/plain", AnswerClass.IN_DOUBT),
        (b'{"error":"bad_refresh_token"}', "400 Bad", "text/plain", AnswerClass.INVALID_GRANT),
        (b'{"error":"invalid_grant"}', "400 Bad", "application/json", AnswerClass.INVALID_GRANT),
        (b'{"error":"invalid_client"}', "401 No", "application/json", AnswerClass.CLIENT_REFUSED),
        (b'{"error":"invalid_scope"}', "400 Bad", "application/json", AnswerClass.REQUEST_REFUSED),
        (b"", "429 Slow", "text/plain", AnswerClass.RATE_LIMITED),
        (b"canary" * 200_000, "200 OK", "application/json", AnswerClass.UNREADABLE_SUCCESS),
        (b"", "302 Found", "text/html", AnswerClass.PROVIDER_FAULT),
    ],
)
async def test_answers_have_their_class(
    server: Server,
    endpoint: OAuthTokenEndpoint,
    profile: ProviderProfile,
    body: bytes,
    status: str,
    kind: str,
    expected: AnswerClass,
) -> None:
    """HTML, faults and errors in a 200 reach the engine as their class, without a body."""
    server.behaviour = reply(body, status, kind, "Location: https://other.example/\r\n")
    error = await _refresh(endpoint, profile)
    assert (error.answer_class, error.status) == (expected, int(status[:3]))
    assert "canary" not in str(error)
    assert len(server.requests) == 1


async def test_rate_limit_brings_its_delay(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile
) -> None:
    """Retry-After travels with the failure."""
    server.behaviour = reply(b"", "503 Busy", extra="Retry-After: 17\r\n")
    error = await _refresh(endpoint, profile)
    assert (error.answer_class, error.retry_after_s) == (AnswerClass.RATE_LIMITED, 17.0)


async def test_reset_after_the_request_is_in_doubt(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile
) -> None:
    """A connection that is cut under the request leaves the refresh in doubt, tried once."""

    async def cut(request: Request, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    server.behaviour = cut
    assert (await _refresh(endpoint, profile)).answer_class is AnswerClass.IN_DOUBT
    assert len(server.requests) == 1


async def test_the_post_limit_is_the_one_of_the_lease(
    server: Server, certificates: DevCertificates, profile: ProviderProfile
) -> None:
    """A request for tokens ends at the configured limit, in doubt, whatever its body's form."""
    silent = asyncio.Event()

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server.behaviour = behave
    http = HttpClient(EgressGuard([server.authority]), certificates.ca_file)
    endpoint = OAuthTokenEndpoint(http, FakeClock(), post_limit_s=0.3)
    started = time.monotonic()
    for encoding in BodyEncoding:
        failure = await _refresh(endpoint, replace(profile, body_encoding=encoding), limit_s=0.3)
        assert failure.answer_class is AnswerClass.IN_DOUBT
    assert 0.6 <= time.monotonic() - started < 5
    silent.set()
    await http.close()


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:1/token", "http://provider.example/token", "https://10.0.0.1/token"]
)
async def test_unreachable_and_refused_endpoints_are_not_sent(
    endpoint: OAuthTokenEndpoint, profile: ProviderProfile, url: str
) -> None:
    """What the guard refuses never left this host."""
    error = await _refresh(endpoint, replace(profile, token_endpoint=url))
    assert error.answer_class is AnswerClass.NOT_SENT


async def test_untrusted_server_is_not_sent(server: Server, profile: ProviderProfile) -> None:
    """A provider whose certificate is not trusted gets no refresh token."""
    http = HttpClient(EgressGuard([server.authority]))
    error = await _refresh(OAuthTokenEndpoint(http, FakeClock()), profile)
    assert error.answer_class is AnswerClass.NOT_SENT
    assert server.requests == []
    await http.close()


@pytest.mark.parametrize("echo", [REFRESH, REFRESH[:12], f"bad token {REFRESH}", SECRET[:10]])
@pytest.mark.parametrize("status", ["400 Bad", "401 No", "200 OK"])
async def test_echoed_secrets_are_left_out(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile, echo: str, status: str
) -> None:
    """An error code that repeats a secret of the request does not reach the record."""
    server.behaviour = reply(json.dumps({"error": echo}).encode(), status)
    error = await _refresh(endpoint, profile)
    assert error.error == "(left out: it repeats a secret)"
    assert echo not in f"{error} {error.recorded()} {error.__cause__}"


async def test_revoke(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile
) -> None:
    """A revocation names the refresh token and its type (RFC 7009 §2.1)."""
    server.behaviour = reply(b"")
    await endpoint.revoke(profile, BASIC, token=Sensitive.from_text(REFRESH))
    assert server.requests[0].head.startswith("POST /revoke HTTP/1.1")
    assert server.requests[0].header("Authorization") is not None
    expected = b"token=rt-0123456789-abcdef&token_type_hint=refresh_token"
    assert server.requests[0].body == expected


async def test_revoke_an_access_token(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile
) -> None:
    """The hint says which kind of token is revoked (RFC 7009 §2.1)."""
    server.behaviour = reply(b"")
    token = Sensitive.from_text("at-1")
    await endpoint.revoke(profile, BASIC, token=token, kind=TokenKind.ACCESS)
    assert server.requests[0].body == b"token=at-1&token_type_hint=access_token"


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (b'{"error":"unsupported_token_type"}', "400 Bad", AnswerClass.REQUEST_REFUSED),
        (b'{"error":"invalid_client"}', "401 No", AnswerClass.CLIENT_REFUSED),
        (b"", "500 Oops", AnswerClass.IN_DOUBT),
    ],
)
async def test_refused_revocations(
    server: Server,
    endpoint: OAuthTokenEndpoint,
    profile: ProviderProfile,
    body: bytes,
    status: str,
    expected: AnswerClass,
) -> None:
    """A revocation that the provider refuses tells why."""
    server.behaviour = reply(body, status)
    with pytest.raises(TokenEndpointError) as caught:
        await endpoint.revoke(profile, BASIC, token=Sensitive.from_text(REFRESH))
    assert caught.value.answer_class is expected


async def test_provider_without_revocation_endpoint(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile
) -> None:
    """Where the provider has no revocation endpoint nothing is sent."""
    bare = replace(profile, revocation_endpoint="")
    with pytest.raises(TokenEndpointError) as caught:
        await endpoint.revoke(bare, BASIC, token=Sensitive(b"rt"))
    assert caught.value.answer_class is AnswerClass.REQUEST_REFUSED
    assert server.requests == []
