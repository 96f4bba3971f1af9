"""256 calls on one expired grant, over four processes: one refresh."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.support.oidc import OidcProvider
from tests.support.vault import RealVault, consent, register
from vault_service.embedded.settings_files import TENANT

_PROCESSES = 4
_CALLS = 256
_LIFE_S = 4


@pytest.fixture(scope="module")
def ports(real_vault: RealVault, oidc: OidcProvider) -> Iterator[list[int]]:
    """Four processes on ports of their own and one database."""
    names = [f"flight-{number}" for number in range(_PROCESSES)]
    yield [real_vault.serve(name, [oidc.host_port]) for name in names]
    for name in names:
        real_vault.stop_process(name)


async def test_256_callers_over_4_processes_make_one_post(
    real_vault: RealVault, oidc: OidcProvider, ports: list[int]
) -> None:
    """All get the winner's token, the provider counts one POST, and 256 records are there."""
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(real_vault.client("operator", ports[0]))
        auditor = await stack.enter_async_context(real_vault.client("auditor", ports[0]))
        apps = [
            await stack.enter_async_context(real_vault.client("calendar-app", port, 60))
            for port in ports
        ]
        await register(operator, oidc)
        completed = await consent(apps[0], oidc, owner="herd", user="herd")
        await asyncio.sleep(_LIFE_S + 0.2)
        before = len(oidc.ledger("refresh_token"))
        tokens = await asyncio.gather(
            *(
                apps[number % _PROCESSES].get_access_token(alias=completed.alias, min_ttl_s=0.5)
                for number in range(_CALLS)
            )
        )
        assert len({token.value for token in tokens}) == 1
        posts = oidc.ledger("refresh_token")[before:]
        assert [post.status for post in posts] == [200]
        disclosed = 0
        async for record in auditor.iter_audit_records(f"tenants/{TENANT}", page_size=500):
            if (
                record.action == "AUTHORIZATION_COMPLETED"
                and record.resource == completed.grant.name
            ):
                break
            disclosed += (
                record.action == "ACCESS_TOKEN_DISCLOSED"
                and record.resource == completed.grant.name
                and record.token_fingerprint == tokens[0].fingerprint
            )
        assert disclosed == _CALLS
