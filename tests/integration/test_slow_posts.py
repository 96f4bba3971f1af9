"""A POST that outlives what was planned for it: its process stands still, or the provider does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import tokenvault_client as sdk
from tests.campaigns.away import Deployment, deployed, held_at
from tests.support.authserver import Cut, Fault
from tests.support.deployment import expire, refused_posts, second_posts, token_of, until
from tests.support.vault import RealVault
from tests.support.watch import Watch

_LEASE_S = 4.5  # deployment.QUICK


@pytest.fixture(scope="module")
def deployment(breakable_vault: RealVault) -> Iterator[Deployment]:
    """Two processes with leases of a few seconds."""
    with deployed(breakable_vault) as running:
        yield running


async def _whole(
    deployment: Deployment, clients: list[sdk.TokenVaultClient], grant: str, owner: str
) -> Watch:
    """Both processes give tokens, nothing is left over, and the next refresh works."""
    watch = Watch()
    await token_of(watch, clients, grant)
    await until(lambda: not deployment.loose_ends)
    await asyncio.to_thread(expire, deployment.vault, owner)
    await token_of(watch, clients, grant)
    assert watch.violations() == {}
    (family,) = deployment.server.families(subject=owner)
    assert family.killed is None
    assert refused_posts(deployment.server, [family.name]) == []
    return watch


async def test_a_process_that_stands_still_past_its_lease(deployment: Deployment) -> None:
    """The answer of the provider comes while the process is stopped, and its lease ends; nobody
    asks a second time, and the process that goes on keeps what it was given."""
    server = deployment.server
    async with deployment.connected() as callers:
        completed = await server.consent(callers.victim, "stopped", life_s=0)
        grant = completed.grant.name
        victim = deployment.vault.processes["victim"]
        with held_at(deployment, "posted") as held:
            call = asyncio.create_task(Watch().ask(callers.victim, grant, "victim", timeout_s=30))
            await held.reached()
            victim.pause()
            try:
                held.go()
                (family,) = server.families(subject="stopped")
                await until(lambda: server.families([family.name])[0].generation == 2)
                await asyncio.sleep(_LEASE_S + 1)
                with pytest.raises(sdk.TryLater):
                    await callers.sibling.get_access_token(grant=grant, timeout_s=2)
            finally:
                victim.resume()
        await call
        await _whole(deployment, [callers.victim, callers.sibling], grant, "stopped")
        assert second_posts(server, [family.name]) == []
        assert (await callers.operator.get_grant(grant)).state is sdk.GrantState.ACTIVE


@pytest.mark.parametrize("refresh_class", ["N", "M", "G", "S"])
async def test_a_provider_that_never_answers(deployment: Deployment, refresh_class: str) -> None:
    """A POST that is cut off by its own limit, and that the provider never carried out, is in doubt
    for its lease; then the same refresh token is presented once more, and works."""
    server, owner = deployment.server, f"silent-{refresh_class}"
    grace_s = 60 if refresh_class == "G" else 0
    server.configure(refresh_class=refresh_class, grace_s=grace_s)
    try:
        async with deployment.connected() as callers:
            completed = await server.consent(callers.victim, owner, life_s=0)
            grant = completed.grant.name
            server.script(Fault(delay_before_s=3.5, cut=Cut.BEFORE_COMMIT), kind="refresh_token")
            asked = Watch()
            await asked.ask(callers.victim, grant, "victim", timeout_s=4)
            await _whole(deployment, [callers.victim, callers.sibling], grant, owner)
            (family,) = server.families(subject=owner)
            posts = server.entries(kind="refresh_token", families=[family.name])
            assert len(posts) == family.generation, "one POST was in doubt, each other one counted"
            waits = refresh_class in ("G", "S")
            again_after_s = posts[1].arrived_s - posts[0].arrived_s
            assert not waits or again_after_s >= 3, "the first was still under way"
    finally:
        server.configure(refresh_class="S", grace_s=0)
