"""A token that an API refuses, reported on one replica and replaced on another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import tokenvault_client as sdk
from tests.support.authserver import AuthServer
from tests.support.vault import RealVault
from vault_service.embedded.settings_files import TENANT


@pytest.fixture(scope="module")
def provider(real_vault: RealVault) -> Iterator[AuthServer]:
    """A strict authorization server of class S."""
    with AuthServer(real_vault.ca) as server:
        yield server


@pytest.fixture(scope="module")
def ports(real_vault: RealVault, provider: AuthServer) -> Iterator[tuple[int, int]]:
    """Two replicas."""
    names = ("rejected-a", "rejected-b")
    first, second = (real_vault.serve(name, [provider.host_port]) for name in names)
    yield first, second
    for name in names:
        real_vault.stop_process(name)


async def test_after_a_401(
    real_vault: RealVault, provider: AuthServer, ports: tuple[int, int]
) -> None:
    """Eight callers report the same token at once, over both replicas: one refresh, one record, and
    every caller gets the new token; a report of the new one a moment later is limited."""
    async with (
        real_vault.client("operator", ports[0]) as operator,
        real_vault.client("calendar-app", ports[0]) as one,
        real_vault.client("calendar-app", ports[1]) as two,
        real_vault.client("auditor", ports[1]) as auditor,
    ):
        await provider.register(operator)
        alias = (await provider.consent(one, "rejected")).alias
        old = await one.get_access_token(alias=alias)
        assert (await two.get_access_token(alias=alias)).value == old.value
        before = len(provider.sent("refresh_token"))

        async def after_401(vault: sdk.TokenVaultClient) -> str:
            await vault.report_rejected_token(alias=alias, token_fingerprint=old.fingerprint)
            return (await vault.get_access_token(alias=alias)).value

        values = await asyncio.gather(*(after_401(vault) for vault in [one, two] * 4))
        assert len(set(values)) == 1
        assert values[0] != old.value
        assert len(provider.sent("refresh_token")) == before + 1

        late = await two.report_rejected_token(alias=alias, token_fingerprint=old.fingerprint)
        assert late.already_refreshed
        new = await two.get_access_token(alias=alias)
        with pytest.raises(sdk.TryLater) as limited:
            await two.report_rejected_token(alias=alias, token_fingerprint=new.fingerprint)
        assert limited.value.reason == "CALLER_RATE_LIMITED"
        assert limited.value.retry_after_s is not None
        assert 0 < limited.value.retry_after_s <= 60
        files = await asyncio.to_thread(real_vault.client_files, ports[0])
        told = await asyncio.to_thread(
            real_vault.command, "token", "report", TENANT, old.fingerprint, "--owner", "rejected",
            "--label", alias.rpartition("/")[2], "--client", str(files["calendar-app"]),
        )  # fmt: skip
        assert "a newer token is there already" in told
        page = await auditor.list_audit_records(f"tenants/{TENANT}", page_size=200)
    marks = [record for record in page.items if record.action == "ACCESS_TOKEN_REJECTED"]
    assert [record.token_fingerprint for record in marks] == [old.fingerprint]
