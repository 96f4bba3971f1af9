"""Revocation against a thousand concurrent disclosures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

import tokenvault_client as sdk
from tests.support.oidc import OidcProvider
from tests.support.vault import RealVault, consent, register

_CALLS = 1_000
_BEFORE = 300
_AFTER = 100
_AT_ONCE = 200  # more would all be in the service before the revocation gets there


@pytest.fixture(scope="module")
def oidc(real_vault: RealVault, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    """Tokens that live long: nothing is refreshed here."""
    server = OidcProvider(tmp_path_factory.mktemp("oidc"), real_vault.ca, access_life_s=600).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def ports(real_vault: RealVault, oidc: OidcProvider) -> Iterator[list[int]]:
    """Two processes."""
    yield [real_vault.serve(name, [oidc.host_port]) for name in ("revoke-1", "revoke-2")]
    for name in ("revoke-1", "revoke-2"):
        real_vault.stop_process(name)


async def test_no_disclosure_commits_after_the_revocation(
    real_vault: RealVault, oidc: OidcProvider, ports: list[int]
) -> None:
    """None commits after it, and none that starts after it returned gets a token."""
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(real_vault.client("operator", ports[0], 60))
        apps = [
            await stack.enter_async_context(real_vault.client("calendar-app", port, 60))
            for port in ports
        ]
        await register(operator, oidc)
        completed = await consent(apps[0], oidc, owner="race", user="race")
        returned_at = float("inf")
        answered = 0
        middle = asyncio.Event()
        places = asyncio.Semaphore(_AT_ONCE)

        async def ask(number: int) -> tuple[float, bool]:
            async with places:
                started = time.monotonic()
                try:
                    await apps[number % 2].get_access_token(alias=completed.alias, min_ttl_s=60)
                except sdk.GrantRevoked:
                    return started, False
            nonlocal answered
            answered += 1
            if answered == _BEFORE:
                middle.set()
            return started, True

        async def revoke() -> None:
            nonlocal returned_at
            # In the middle of them: some have their token, the others are under way.
            await asyncio.wait_for(middle.wait(), 30)
            await operator.revoke_grant(completed.grant.name)
            returned_at = time.monotonic()

        answers, _ = await asyncio.gather(asyncio.gather(*map(ask, range(_CALLS))), revoke())
        late = await asyncio.gather(*map(ask, range(_AFTER)))
        assert not any(got for started, got in [*answers, *late] if started > returned_at)
        got = sum(got for _, got in answers)
        assert _BEFORE <= got < _CALLS, "the revocation came in the middle"
        await _assert_order(real_vault, completed.grant.name, got)


async def _assert_order(vault: RealVault, grant: str, answered: int) -> None:
    """By the database's own order of commits, every disclosure is before the tombstone."""
    rows = await asyncio.to_thread(
        vault.sql,
        "SELECT (SELECT max(pg_xact_commit_timestamp(xmin)) FROM tokenvault.audit_records"
        f"  WHERE resource = '{grant}' AND action = 1)"
        " < (SELECT min(pg_xact_commit_timestamp(xmin)) FROM tokenvault.audit_records"
        f"  WHERE resource = '{grant}' AND action = 9),"
        f" (SELECT count(*) FROM tokenvault.audit_records WHERE resource = '{grant}'"
        "   AND action = 1)",
    )
    before, recorded = rows
    assert before, "a disclosure committed after the revocation"
    assert int(recorded) >= answered
