"""ports.TokenEndpoint: whether a token is alive, over TLS against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

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
from vault_service.domain.oauth import ClientAuthMethod, ClientCredential, Liveness
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard

REFRESH = "rt-0123456789-abcdef"
BASIC = ClientCredential("c-1", Sensitive(b"secret"), ClientAuthMethod.CLIENT_SECRET_BASIC)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> DevCertificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def server(certificates: DevCertificates) -> AsyncIterator[Server]:
    async with serve(reply(b"{}"), certificates) as state:
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


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (b'{"active":true,"scope":"a"}', "200 OK", Liveness.ACTIVE),
        (b'{"active":false}', "200 OK", Liveness.INACTIVE),
        (b'{"active":"true"}', "200 OK", Liveness.UNKNOWN),
        (b'{"active":1}', "200 OK", Liveness.UNKNOWN),
        (b'{"active":null}', "200 OK", Liveness.UNKNOWN),
        (b"{}", "200 OK", Liveness.UNKNOWN),
        (b'{"active":true,"active":false}', "200 OK", Liveness.UNKNOWN),
        (b"<html>", "200 OK", Liveness.UNKNOWN),
        (b'<p>{"active":false}</p>', "200 OK", Liveness.UNKNOWN),
        (b"", "200 OK", Liveness.UNKNOWN),
        (b'{"active":false}', "201 Created", Liveness.UNKNOWN),
        (b'{"active":false}', "401 No", Liveness.UNKNOWN),
        (b'{"active":false}', "500 Oops", Liveness.UNKNOWN),
        (b'{"active":true}' + b" " * 70_000, "200 OK", Liveness.ACTIVE),
        (b'{"active":true,"x":"' + b"y" * 70_000 + b'"}', "200 OK", Liveness.UNKNOWN),
    ],
)
async def test_introspection(
    server: Server,
    endpoint: OAuthTokenEndpoint,
    profile: ProviderProfile,
    body: bytes,
    status: str,
    expected: Liveness,
) -> None:
    """A refresh token is alive or dead by a true or false in a 200, and else unknown."""
    server.behaviour = reply(body, status)
    asked = replace(profile, introspection_endpoint=f"{profile.issuer}/introspect")
    token = Sensitive.from_text(REFRESH)
    assert await endpoint.introspect(asked, BASIC, refresh_token=token) is expected
    (request,) = server.requests
    assert request.head.startswith("POST /introspect HTTP/1.1")
    assert request.body == b"token=rt-0123456789-abcdef&token_type_hint=refresh_token"
    assert request.header("Authorization") is not None


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (b'{"login":"octocat"}', "200 OK", Liveness.ACTIVE),
        (b"[]", "200 OK", Liveness.ACTIVE),
        (b"", "204 No Content", Liveness.UNKNOWN),
        (b'{"ok":true}', "200 OK", Liveness.ACTIVE),
        (b'{"ok":false,"error":"token_expired"}', "200 OK", Liveness.UNKNOWN),
        (b"<html>sign in</html>", "200 OK", Liveness.UNKNOWN),
        (b'{"message":"Bad credentials"}', "401 No", Liveness.INACTIVE),
        (b"", "401 No", Liveness.INACTIVE),
        (b"", "403 No", Liveness.UNKNOWN),
        (b"", "404 No", Liveness.UNKNOWN),
        (b"", "302 Found", Liveness.UNKNOWN),
        (b"", "429 Slow", Liveness.UNKNOWN),
        (b"", "500 Oops", Liveness.UNKNOWN),
    ],
)
async def test_probe(
    server: Server,
    endpoint: OAuthTokenEndpoint,
    profile: ProviderProfile,
    body: bytes,
    status: str,
    expected: Liveness,
) -> None:
    """An access token is alive where the resource answers it, dead at 401, and else unknown."""
    server.behaviour = reply(body, status)
    asked = replace(profile, probe_endpoint=f"{profile.issuer}/me")
    token = Sensitive.from_text("at-1")
    assert await endpoint.probe_access_token(asked, access_token=token) is expected
    (request,) = server.requests
    assert request.head.startswith("GET /me HTTP/1.1")
    assert request.header("Authorization") == "Bearer at-1"
    assert request.body == b""


async def test_liveness_that_cannot_be_asked(
    server: Server, endpoint: OAuthTokenEndpoint, profile: ProviderProfile
) -> None:
    """Without an endpoint nothing is sent; one that is refused or cut tells nothing."""

    async def cut(request: Request, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    token = Sensitive.from_text(REFRESH)
    server.behaviour = cut
    for url in ("", "https://10.0.0.1/x", f"{profile.issuer}/x"):
        asked = replace(profile, introspection_endpoint=url, probe_endpoint=url)
        introspected = await endpoint.introspect(asked, BASIC, refresh_token=token)
        probed = await endpoint.probe_access_token(asked, access_token=token)
        assert (introspected, probed) == (Liveness.UNKNOWN, Liveness.UNKNOWN)
    # A GET is safe to repeat, and the library does so once; a POST goes out once.
    assert [request.head.split()[0] for request in server.requests].count("POST") == 1
