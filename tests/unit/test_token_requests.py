"""What token requests carry beside the protocol's own: nothing secret of a public client, and
extra parameters.
"""

from __future__ import annotations

import json
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
    serve,
)
from vault_service.adapters.oauth import OAuthTokenEndpoint
from vault_service.domain.oauth import ClientAuthMethod, ClientCredential
from vault_service.domain.provider import BodyEncoding, ProviderProfile
from vault_service.domain.sensitive import Sensitive
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard

POST = ClientCredential("crm", Sensitive(b"s3cret"), ClientAuthMethod.CLIENT_SECRET_POST)
PUBLIC = ClientCredential("public-1", Sensitive(b""), ClientAuthMethod.NONE)
CODE, REFRESH = "co/de+1=", "rt-0123456789-abcdef"
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
    return ProviderProfile(
        base,
        f"{base}/authorize",
        f"{base}/token",
        f"{base}/revoke",
        subject_from="response:token_type",
    )


@pytest.fixture
async def endpoint(
    server: Server, certificates: DevCertificates
) -> AsyncIterator[OAuthTokenEndpoint]:
    http = HttpClient(EgressGuard([server.authority]), certificates.ca_file)
    yield OAuthTokenEndpoint(http, FakeClock())
    await http.close()


async def _exchange(
    endpoint: OAuthTokenEndpoint, profile: ProviderProfile, client: ClientCredential
) -> None:
    await endpoint.exchange_code(
        profile,
        client,
        code=Sensitive.from_text(CODE),
        redirect_uri="https://app.example/cb",
        verifier=Sensitive.from_text("verifier"),
    )


async def _refresh(
    endpoint: OAuthTokenEndpoint, profile: ProviderProfile, client: ClientCredential
) -> None:
    await endpoint.refresh(
        profile,
        client,
        token_endpoint=profile.token_endpoint,
        refresh_token=Sensitive.from_text(REFRESH),
        post_limit_s=20.0,
        answer_limit_s=20.0,
    )


@pytest.mark.parametrize("encoding", list(BodyEncoding))
async def test_public_client_names_itself(
    endpoint: OAuthTokenEndpoint, server: Server, profile: ProviderProfile, encoding: BodyEncoding
) -> None:
    """A public client sends its client_id in the body, no secret and no Authorization header."""
    profile = replace(profile, body_encoding=encoding)
    await _exchange(endpoint, profile, PUBLIC)
    await _refresh(endpoint, profile, PUBLIC)
    for request in server.requests:
        sent = _members(request)
        assert sent["client_id"] == PUBLIC.client_id
        assert "client_secret" not in sent
        assert request.header("authorization") is None


@pytest.mark.parametrize("encoding", list(BodyEncoding))
async def test_token_parameters(
    endpoint: OAuthTokenEndpoint, server: Server, profile: ProviderProfile, encoding: BodyEncoding
) -> None:
    """Code exchange and refresh carry the extra parameters: the OAuthClient's before the
    provider's, these before the consent's resource, and empty ones not at all."""
    profile = replace(
        profile,
        body_encoding=encoding,
        authorization_params={"resource": "https://mcp.example", "prompt": "consent"},
        token_params={"audience": "theirs", "action": "requesttoken", "dropped": "x"},
    )
    client = replace(POST, token_params={"audience": "ours", "dropped": ""})
    await _exchange(endpoint, profile, client)
    await _refresh(endpoint, profile, client)
    for request, grant_type in zip(
        server.requests, ("authorization_code", "refresh_token"), strict=True
    ):
        sent = _members(request)
        assert sent["grant_type"] == grant_type
        assert (sent["resource"], sent["audience"], sent["action"]) == (
            "https://mcp.example",
            "ours",
            "requesttoken",
        )
        assert not {"prompt", "dropped"} & sent.keys()


async def test_extra_parameters_never_win(
    endpoint: OAuthTokenEndpoint, server: Server, profile: ProviderProfile
) -> None:
    """What the protocol itself sends stands, whatever a stored row says."""
    client = replace(POST, token_params={"code": "x", "client_id": "x", "grant_type": "x"})
    await _exchange(endpoint, profile, client)
    sent = _members(server.requests[0])
    assert (sent["code"], sent["client_id"], sent["grant_type"]) == (
        CODE,
        POST.client_id,
        "authorization_code",
    )


async def test_no_extra_parameters_in_revocation(
    endpoint: OAuthTokenEndpoint, server: Server, profile: ProviderProfile
) -> None:
    """A revocation carries none of them: RFC 7009 knows no resource."""
    profile = replace(profile, token_params={"audience": "theirs"})
    await endpoint.revoke(profile, POST, token=Sensitive.from_text(REFRESH))
    assert "audience" not in _members(server.requests[0])


def _members(request: Request) -> dict[str, str]:
    if (request.header("content-type") or "").startswith("application/json"):
        return dict(json.loads(request.body))
    return dict(parse_qsl(request.body.decode(), keep_blank_values=True))
