"""A refresh that is answered as its profile cannot read: kept, shown, resolved, used up once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest

import tokenvault_client as sdk
from tests.support.authserver import Answer, AuthServer
from tests.support.cli import run, run_json
from tests.support.refusals import ONCE_S, refusal
from tests.support.vault import RealVault
from vault_service.embedded.settings_files import TENANT

_PATHS = {name: f"data.{name}" for name in ("access_token", "refresh_token", "expires_in")}
_NESTED = Answer.json(
    {"data": {"access_token": "at-canary", "refresh_token": "rt-canary", "expires_in": 3600}}
)


@pytest.fixture(scope="module")
def provider(real_vault: RealVault) -> Iterator[AuthServer]:
    """A server that answers as the test says."""
    with AuthServer(real_vault.ca) as server:
        yield server


@pytest.fixture(scope="module")
def port(real_vault: RealVault, provider: AuthServer) -> Iterator[int]:
    """One process."""
    yield real_vault.serve("attempts", [provider.host_port])
    real_vault.stop_process("attempts")


@pytest.fixture
async def operator(real_vault: RealVault, port: int) -> AsyncIterator[sdk.TokenVaultClient]:
    """The client of the operator, who registers providers and resolves attempts."""
    async with real_vault.client("operator", port) as client:
        yield client


async def _unread(
    operator: sdk.TokenVaultClient, app: sdk.TokenVaultClient, provider: AuthServer, owner: str
) -> tuple[str, sdk.Attempt]:
    await provider.register(operator, refresh_class=sdk.RefreshClass.S)
    completed = await provider.consent(app, owner, life_s=0)
    provider.script(_NESTED)
    call = app.get_access_token(alias=completed.alias, timeout_s=ONCE_S)
    error = await refusal(call, "REFRESH_IN_DOUBT", "kept")
    assert error.metadata["waits_for"] == "PROFILE"
    found = await operator.list_attempts(sdk.tenant_name(TENANT), which=sdk.AttemptFilter.WAITING)
    (attempt,) = [one for one in found.items if one.grant == completed.grant.name]
    return completed.alias, attempt


async def test_a_mended_profile_reads_what_was_kept(
    real_vault: RealVault, port: int, operator: sdk.TokenVaultClient, provider: AuthServer
) -> None:
    """A 200 in a shape that the profile does not know waits until the profile is mended; the next
    call has its token, and the refresh token was presented exactly once."""
    async with real_vault.client("calendar-app", port) as app:
        before = len(provider.sent("refresh_token"))
        alias, attempt = await _unread(operator, app, provider, "mended")
        await provider.register(operator, refresh_class=sdk.RefreshClass.S, token_paths=_PATHS)
        token = await app.get_access_token(alias=alias)
        assert token.value == "at-canary"
        assert len(provider.sent("refresh_token")) == before + 1
        after = await operator.get_attempt(attempt.name)
        assert after.state is sdk.AttemptState.RESOLVED_REFRESHED


async def test_on_the_command_line(
    real_vault: RealVault, port: int, operator: sdk.TokenVaultClient, provider: AuthServer
) -> None:
    """list, show and resolve tell on-call what waits and end it, in 80 columns and as JSON, and
    show nothing of the answer."""
    file = str(real_vault.client_files(port)["operator"])
    async with real_vault.client("calendar-app", port) as app:
        alias, attempt = await _unread(operator, app, provider, "command")
        name = attempt.name.rpartition("/")[2]
        listed = run("attempt", "list", TENANT, "--state", "waiting", "--client", file)
        assert name in listed.out
        assert max(map(len, listed.out.splitlines())) <= 80
        as_json = run_json("attempt", "list", TENANT, "--state", "waiting", "--client", file)
        assert attempt.name in {one["name"] for one in json.loads(as_json.out)["attempts"]}
        shown = run_json("attempt", "show", TENANT, name, "--client", file)
        received = json.loads(shown.out)["received"]
        assert received["status"] == 200
        assert received["media_type"] == "application/json"
        resolved = run_json(
            "attempt", "resolve", TENANT, name, "give-up", "--client", file, "--yes",
            "--reason", "ticket 7", "--etag", attempt.etag,
        )  # fmt: skip
        assert json.loads(resolved.out)["state"] == "RESOLVED_LOST"
        assert "canary" not in listed.out + as_json.out + shown.out + resolved.out
        call = app.get_access_token(alias=alias, timeout_s=ONCE_S)
        error = await refusal(call, "REAUTHORIZATION_REQUIRED", "consent")
        assert error.metadata["cause"] == "BY_OPERATOR"
