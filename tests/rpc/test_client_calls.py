"""Each method of the client against its RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

import tokenvault_client as tv
from tests.rpc.client_attempt_cases import ATTEMPT_CASES
from tests.rpc.client_cases import (
    ALIAS,
    CASES,
    GRANT,
    GRANT_MESSAGE,
    GRANT_NAME,
    OAUTH_CLIENT,
    OAUTH_CLIENT_MESSAGE,
    PROVIDER,
    PROVIDER_MESSAGE,
    RECORD,
    RECORD_MESSAGE,
    SECRET,
    Case,
)
from tests.rpc.client_event_cases import EVENT_CASES
from tests.rpc.client_forms import Form
from tests.rpc.client_pki import Authority
from tests.rpc.client_server import SERVICES, ScriptedServer, serve
from tests.rpc.client_whole_cases import (
    SECRET_MESSAGE,
    SECRET_RESULT,
    TOMBSTONE,
    TOMBSTONE_MESSAGE,
    WHOLE_CASES,
)
from tokenvault.v1 import audit_service_pb2 as audit
from tokenvault.v1 import grant_service_pb2 as grants
from tokenvault.v1 import provider_service_pb2 as providers
from tokenvault.v1 import resources_pb2 as resources
from tokenvault.v1 import secret_service_pb2 as secrets
from tokenvault.v1 import token_service_pb2 as tokens

ALL_CASES = [*CASES, *WHOLE_CASES, *EVENT_CASES, *ATTEMPT_CASES]


@pytest.fixture(params=list(Form), ids=lambda form: form.value)
async def server(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ScriptedServer]:
    async with serve(Authority(tmp_path, "ca"), form=request.param) as running:
        yield running


def test_every_rpc_has_a_case() -> None:
    """Each RPC of the protocol is reached by a method that is tested here."""
    declared = {
        f"{service.name}/{method.name}"
        for service, _, _ in SERVICES.values()
        for method in service.methods
    }
    assert {case.rpc for case in ALL_CASES} == declared


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.rpc)
async def test_method_sends_and_reads_its_messages(case: Case, server: ScriptedServer) -> None:
    """A method sends exactly its arguments and returns every field of the answer."""
    server.script.on(case.rpc, case.answer)
    async with server.client() as vault:
        assert await case.call(vault) == case.result
    (seen,) = server.script.seen
    assert seen.request == case.request
    assert seen.tls_version == b"TLSv1.3"


async def test_five_lines_from_a_file(server: ScriptedServer, tmp_path: Path) -> None:
    """A client made from a TOML file with relative paths gets a token for a request's header."""
    caller = server.caller
    (tmp_path / "client.toml").write_text(
        f'target = "127.0.0.1:{server.port}"\n'
        f'ca_file = "{server.authority.ca_file.relative_to(tmp_path)}"\n'
        f'certificate_file = "{caller.certificate.relative_to(tmp_path)}"\n'
        f'key_file = "{caller.key.relative_to(tmp_path)}"\n'
        'server_name = "localhost"\ntimeout_s = 5\n'
    )
    server.script.on("TokenService/GetAccessToken", CASES[0].answer)
    async with tv.TokenVaultClient.from_file(tmp_path / "client.toml") as vault:
        token = await vault.get_access_token(
            alias=tv.grant_alias_name("acme", "user-42", "calendar")
        )
    assert f"{token.token_type} {token.value}" == "Bearer at-1"


async def test_token_needs_exactly_one_target(server: ScriptedServer) -> None:
    """A call with both or neither of grant and alias is a TypeError and is not sent."""
    async with server.client() as vault:
        untyped: Any = vault
        with pytest.raises(TypeError):
            await untyped.get_access_token()
        with pytest.raises(TypeError):
            await untyped.get_access_token(grant=GRANT_NAME, alias=ALIAS)
    assert server.script.seen == []


LISTS: list[tuple[str, Callable[[tv.TokenVaultClient], AsyncIterator[Any]], list[Message], Any]] = [
    (
        "GrantService/ListGrants",
        lambda vault: vault.iter_grants("tenants/acme"),
        [
            grants.ListGrantsResponse(grants=[GRANT_MESSAGE, GRANT_MESSAGE], next_page_token="2"),
            grants.ListGrantsResponse(next_page_token="3"),
            grants.ListGrantsResponse(grants=[GRANT_MESSAGE]),
        ],
        GRANT,
    ),
    (
        "ProviderService/ListProviders",
        lambda vault: vault.iter_providers("tenants/acme"),
        [
            providers.ListProvidersResponse(
                providers=[PROVIDER_MESSAGE, PROVIDER_MESSAGE], next_page_token="2"
            ),
            providers.ListProvidersResponse(next_page_token="3"),
            providers.ListProvidersResponse(providers=[PROVIDER_MESSAGE]),
        ],
        PROVIDER,
    ),
    (
        "ProviderService/ListOAuthClients",
        lambda vault: vault.iter_oauth_clients("tenants/acme"),
        [
            providers.ListOAuthClientsResponse(
                oauth_clients=[OAUTH_CLIENT_MESSAGE, OAUTH_CLIENT_MESSAGE], next_page_token="2"
            ),
            providers.ListOAuthClientsResponse(next_page_token="3"),
            providers.ListOAuthClientsResponse(oauth_clients=[OAUTH_CLIENT_MESSAGE]),
        ],
        OAUTH_CLIENT,
    ),
    (
        "SecretService/ListSecrets",
        lambda vault: vault.iter_secrets("tenants/acme"),
        [
            secrets.ListSecretsResponse(
                secrets=[SECRET_MESSAGE, SECRET_MESSAGE], next_page_token="2"
            ),
            secrets.ListSecretsResponse(next_page_token="3"),
            secrets.ListSecretsResponse(secrets=[SECRET_MESSAGE]),
        ],
        SECRET_RESULT,
    ),
    (
        "SecretService/ListSecretVersions",
        lambda vault: vault.iter_secret_versions(SECRET),
        [
            secrets.ListSecretVersionsResponse(
                secret_versions=[TOMBSTONE_MESSAGE, TOMBSTONE_MESSAGE], next_page_token="2"
            ),
            secrets.ListSecretVersionsResponse(next_page_token="3"),
            secrets.ListSecretVersionsResponse(secret_versions=[TOMBSTONE_MESSAGE]),
        ],
        TOMBSTONE,
    ),
    (
        "AuditService/ListAuditRecords",
        lambda vault: vault.iter_audit_records("tenants/acme"),
        [
            audit.ListAuditRecordsResponse(
                records=[RECORD_MESSAGE, RECORD_MESSAGE], next_page_token="2"
            ),
            audit.ListAuditRecordsResponse(next_page_token="3"),
            audit.ListAuditRecordsResponse(records=[RECORD_MESSAGE]),
        ],
        RECORD,
    ),
]


@pytest.mark.parametrize(("rpc", "walk", "pages", "item"), LISTS, ids=[rpc for rpc, *_ in LISTS])
async def test_iterators_walk_all_pages(
    rpc: str,
    walk: Callable[[tv.TokenVaultClient], AsyncIterator[Any]],
    pages: list[Message],
    item: object,
    server: ScriptedServer,
) -> None:
    """An iterator asks page after page, over empty ones too, until no page token comes."""
    server.script.on(rpc, *pages)
    async with server.client() as vault:
        assert [each async for each in walk(vault)] == [item] * 3
    asked = [getattr(seen.request, "page_token", None) for seen in server.script.seen]
    assert asked == ["", "2", "3"]


async def test_a_list_that_stands_still_ends(server: ScriptedServer) -> None:
    """A page token that names its own page is an InternalFault, not an endless loop."""
    server.script.on("GrantService/ListGrants", grants.ListGrantsResponse(next_page_token="x"))
    async with server.client() as vault:
        with pytest.raises(tv.InternalFault, match="does not advance"):
            [each async for each in vault.iter_grants("tenants/acme")]


async def test_a_full_page_of_records_fits(server: ScriptedServer) -> None:
    """500 records with long names and details are one page of more than 256 KiB."""
    long = resources.AuditRecord()
    long.CopyFrom(RECORD_MESSAGE)
    long.resource = tv.grant_alias_name("a" * 63, "o" * 128, "l" * 63)
    long.detail["policy_version"] = "0" * 64
    page = audit.ListAuditRecordsResponse(records=[long] * 500)
    assert page.ByteSize() > 262_144
    server.script.on("AuditService/ListAuditRecords", page)
    async with server.client() as vault:
        assert len((await vault.list_audit_records("tenants/acme", page_size=500)).items) == 500


async def test_too_large_a_request_is_refused_before_it_is_sent(server: ScriptedServer) -> None:
    """A secret over the message limit is an InvalidArgument that says the limit."""
    async with server.client() as vault:
        with pytest.raises(tv.InvalidArgument, match="262144"):
            await vault.put_secret(SECRET, b"x" * 300_000)
    assert server.script.seen == []


async def test_a_token_without_end_of_life_is_a_fault(server: ScriptedServer) -> None:
    """An answer that lacks expire_time raises InternalFault rather than returning a guess."""
    server.script.on(
        "TokenService/GetAccessToken", tokens.GetAccessTokenResponse(access_token="at-1")
    )
    async with server.client() as vault:
        with pytest.raises(tv.InternalFault):
            await vault.get_access_token(grant=GRANT_NAME)
