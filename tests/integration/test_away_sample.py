"""What a refresh needs goes away in the middle of it: samples of tests/campaigns."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import tokenvault_client as sdk
from tests.campaigns import away
from tests.campaigns.away import Deployment, deployed, held_at
from tests.support.deployment import refused_posts, second_posts, token_of, until
from tests.support.refusals import refusal
from tests.support.small_disk import fill, small_disk, widen
from tests.support.vault import RealVault
from tests.support.watch import Watch
from vault_service.domain.attempt import SpoolMark


@pytest.fixture(scope="module")
def deployment(breakable_vault: RealVault) -> Iterator[Deployment]:
    """Two processes, one of them behind a proxy."""
    with deployed(breakable_vault) as running:
        yield running


@pytest.mark.parametrize(
    ("fault", "point"),
    [
        ("killed", "commit_unheard"),
        ("paused", "commit_unsent"),
        ("cut", "answered"),
        ("cut", "lease_unheard"),
        ("sealed", "posted"),
    ],
)
async def test_away_in_the_middle(deployment: Deployment, fault: str, point: str) -> None:
    """PostgreSQL or the key store goes at this point of a refresh: one POST, nothing lost, and both
    processes work again by themselves."""
    async with deployment.connected() as callers:
        await away.play(deployment, callers, point, away.FAULTS[fault], 1.5)


async def test_killed_and_started_while_the_key_store_is_sealed(deployment: Deployment) -> None:
    """The answer lies sealed in the spool of a process that died; its next start cannot open it
    while the key store is sealed, gives up nothing, and stores it when it is open again."""
    server, vault = deployment.server, deployment.vault
    async with deployment.connected() as callers:
        completed = await server.consent(callers.victim, "sealed-start", life_s=0)
        grant = completed.grant.name
        with held_at(deployment, "answered") as held:
            call = asyncio.create_task(callers.victim.get_access_token(grant=grant, timeout_s=5))
            await held.reached()
            await until(lambda: SpoolMark.RECEIVED.name in deployment.loose_ends)
            vault.processes["victim"].kill()
            deployment.proxy.cut()
            deployment.proxy.heal()
        with pytest.raises(sdk.TokenVaultError):
            await call
    with away.sealed(deployment):
        deployment.start("victim")
        async with deployment.connected() as callers:
            # Long enough for the lease to end and the sweeper to try.
            await asyncio.sleep(6)
            await _not_now(callers.victim, grant)
            left = await asyncio.to_thread(lambda: deployment.loose_ends)
            assert SpoolMark.RECEIVED.name in left
    async with deployment.connected() as callers:
        watch = Watch()
        await token_of(watch, [callers.victim, callers.sibling], grant)
        await until(lambda: not deployment.loose_ends)
        (family,) = server.families(subject="sealed-start")
        assert (family.generation, family.killed) == (2, None)
        assert second_posts(server, [family.name]) == []
        assert refused_posts(server, [family.name]) == []


async def _not_now(client: sdk.TokenVaultClient, grant: str) -> None:
    with pytest.raises(sdk.TryLater):
        await client.get_access_token(grant=grant, timeout_s=2)


@pytest.fixture
def disk() -> Iterator[Path]:
    """Where a small file system can be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="tv-disk-"))
    yield folder
    shutil.rmtree(folder)


async def test_disk_of_the_spool_is_full(deployment: Deployment, disk: Path) -> None:
    """No room for a spool: fresh tokens are served and no refresh token is spent; with room the
    same process goes on, and a disk that fills up in the middle of a refresh changes nothing."""
    server, vault = deployment.server, deployment.vault
    with small_disk(disk / "spool", "mode=0755") as room:
        env = {"TOKENVAULT_SPOOL__PATH": str(room / "own"), "TOKENVAULT_SPOOL__SLOTS": "16"}
        deployment.start("cramped", **env)
        try:
            async with (
                deployment.connected() as callers,
                vault.client("calendar-app", deployment.ports["cramped"]) as cramped,
            ):
                fresh = await server.consent(callers.sibling, "cramped-fresh")
                stale = await server.consent(callers.sibling, "cramped-stale", life_s=0)
                (family,) = server.families(subject="cramped-stale")
                assert (await cramped.get_access_token(grant=fresh.grant.name)).value
                asked = cramped.get_access_token(grant=stale.grant.name, timeout_s=1)
                await refusal(asked, "STORE_UNREACHABLE", "disk of the spool is full")
                assert server.entries(kind="refresh_token", families=[family.name]) == []
                await asyncio.to_thread(widen, room, "3m")
                with server.held(kind="refresh_token") as gate:
                    call = asyncio.create_task(cramped.get_access_token(grant=stale.grant.name))
                    await until(
                        lambda: server.entries(kind="refresh_token", families=[family.name])
                    )
                    await asyncio.to_thread(fill, room / "filler")
                    gate.set()
                    assert (await call).refreshed
                assert second_posts(server, [family.name]) == []
        finally:
            vault.stop_process("cramped")
            del deployment.ports["cramped"]
