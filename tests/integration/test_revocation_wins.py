"""A revocation while a refresh is under way, in two processes: the result never becomes the
grant's, and its refresh token is revoked at the provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import tokenvault_client as sdk
from tests.campaigns.away import Callers, Deployment, deployed, held_at
from tests.support.authserver import Done, Fault
from tests.support.deployment import until
from tests.support.vault import RealVault
from vault_service.domain import limits
from vault_service.domain.attempt import SpoolMark


@pytest.fixture(scope="module")
def deployment(breakable_vault: RealVault) -> Iterator[Deployment]:
    """Two processes, one of them behind a proxy."""
    with deployed(breakable_vault) as running:
        yield running


def _revoked(deployment: Deployment, owner: str) -> dict[int, int]:
    """How often each generation of the owner's family was revoked at the provider, with success."""
    (family,) = deployment.server.families(subject=owner)
    entries = deployment.server.entries(kind="revoke", families=[family.name])
    told = [entry.presented for entry in entries if entry.done is Done.REVOKED]
    return {generation: told.count(generation) for generation in told}


def _queued(deployment: Deployment, grant: str) -> int:
    (count,) = deployment.vault.sql(
        "SELECT count(*) FROM tokenvault.provider_revocations"
        f" WHERE grant_id = '{grant.rpartition('/')[2]}'"
    )
    return int(count)


async def _ended(
    deployment: Deployment, callers: Callers, grant: str, owner: str, revoked: set[int]
) -> None:
    """The grant is a tombstone of its first generation; the provider was told of these
    generations, nothing is queued any more, and no token works."""
    await until(lambda: set(_revoked(deployment, owner)) >= revoked)
    await until(lambda: _queued(deployment, grant) == 0)
    row = await callers.operator.get_grant(grant)
    assert row.state is sdk.GrantState.REVOKED
    assert row.provider_revocation is sdk.ProviderRevocation.DONE
    assert await asyncio.to_thread(_row, deployment, grant) == (1, None, None)
    (family,) = deployment.server.families(subject=owner)
    assert family.working == ()
    assert set(_revoked(deployment, owner).values()) == {1}
    for client in (callers.victim, callers.sibling):
        with pytest.raises(sdk.GrantRevoked):
            await client.get_access_token(grant=grant)
    await until(lambda: not deployment.loose_ends)


def _row(deployment: Deployment, grant: str) -> tuple[object, ...]:
    """Generation and envelopes of the row."""
    return deployment.vault.sql(
        "SELECT generation, access_envelope, refresh_envelope FROM tokenvault.grants"
        f" WHERE grant_id = '{grant.rpartition('/')[2]}'"
    )


def _where(deployment: Deployment) -> dict[str, str]:
    return {"revocation_endpoint": f"{deployment.server.issuer}/revoke"}


async def test_a_pair_that_was_given_meanwhile_is_revoked(deployment: Deployment) -> None:
    """The provider has given a new pair when the revocation commits: it is revoked there too."""
    server = deployment.server
    async with deployment.connected(**_where(deployment)) as callers:
        completed = await server.consent(callers.victim, "wins-given", life_s=0)
        grant = completed.grant.name
        server.script(Fault(delay_after_s=2), kind="refresh_token")
        call = asyncio.create_task(callers.victim.get_access_token(grant=grant))
        (family,) = server.families(subject="wins-given")
        await until(lambda: server.families([family.name])[0].generation == 2)
        tombstone = await callers.operator.revoke_grant(grant)
        assert tombstone.state is sdk.GrantState.REVOKED
        assert not call.done()
        with pytest.raises(sdk.GrantRevoked):
            await call
        await _ended(deployment, callers, grant, "wins-given", {1, 2})


async def test_a_request_that_the_provider_has_not_served_yet(deployment: Deployment) -> None:
    """The provider hears of the revocation before it serves the refresh: nothing was given, and the
    refusal does not touch the tombstone."""
    server = deployment.server
    async with deployment.connected(**_where(deployment)) as callers:
        completed = await server.consent(callers.victim, "wins-held", life_s=0)
        grant = completed.grant.name
        with held_at(deployment, "posted") as held:
            call = asyncio.create_task(callers.victim.get_access_token(grant=grant))
            await held.reached()
            await callers.operator.revoke_grant(grant)
            held.go()
        with pytest.raises(sdk.GrantRevoked):
            await call
        await _ended(deployment, callers, grant, "wins-held", {1})


async def test_killed_with_the_answer_in_its_spool(deployment: Deployment) -> None:
    """The process dies when the answer is on its disk and not in the database; its next start
    revokes what it finds there."""
    server, proxy = deployment.server, deployment.proxy
    async with deployment.connected(**_where(deployment)) as callers:
        completed = await server.consent(callers.victim, "wins-killed", life_s=0)
        grant = completed.grant.name
        with held_at(deployment, "answered") as held:
            call = asyncio.create_task(callers.victim.get_access_token(grant=grant, timeout_s=5))
            await held.reached()
            await until(lambda: SpoolMark.RECEIVED.name in deployment.loose_ends)
            deployment.vault.processes["victim"].kill()
            proxy.cut()
            proxy.heal()
        with pytest.raises(sdk.TokenVaultError):
            await call
        await callers.operator.revoke_grant(grant)
        await until(lambda: _revoked(deployment, "wins-killed") == {1: 1})
    deployment.start("victim")
    async with deployment.connected(**_where(deployment)) as callers:
        await _ended(deployment, callers, grant, "wins-killed", {1, 2})


async def test_revocation_endpoint_down(deployment: Deployment) -> None:
    """While the provider takes no revocations both refresh tokens stay queued, for seven days at
    most; when it is back it is told of both."""
    server, vault = deployment.server, deployment.vault
    async with deployment.connected(**_where(deployment)) as callers:
        completed = await server.consent(callers.victim, "wins-down", life_s=0)
        grant = completed.grant.name
        server.script(Fault(delay_after_s=2), kind="refresh_token")
        with server.outage("503", kind="revoke"):
            call = asyncio.create_task(callers.victim.get_access_token(grant=grant))
            (family,) = server.families(subject="wins-down")
            await until(lambda: server.families([family.name])[0].generation == 2)
            pending = await callers.operator.revoke_grant(grant)
            assert pending.state is sdk.GrantState.REVOKED
            assert pending.provider_revocation is sdk.ProviderRevocation.PENDING
            with pytest.raises(sdk.GrantRevoked):
                await call
            await until(lambda: _queued(deployment, grant) == 2)
            assert _revoked(deployment, "wins-down") == {}
            (kept_s,) = await asyncio.to_thread(
                vault.sql,
                "SELECT max(extract(epoch FROM expire_time - clock_timestamp()))"
                " FROM tokenvault.provider_revocations"
                f" WHERE grant_id = '{grant.rpartition('/')[2]}'",
            )
            assert 0 < kept_s <= limits.REVOCATION_KEEP_S
        await until(lambda: _tried(deployment, grant) == 2)
        await asyncio.to_thread(
            vault.sql,
            "UPDATE tokenvault.provider_revocations SET next_attempt_time = clock_timestamp()",
        )
        await _ended(deployment, callers, grant, "wins-down", {1, 2})


def _tried(deployment: Deployment, grant: str) -> int:
    (count,) = deployment.vault.sql(
        "SELECT count(*) FROM tokenvault.provider_revocations WHERE attempts = 1"
        f" AND grant_id = '{grant.rpartition('/')[2]}'"
    )
    return int(count)
