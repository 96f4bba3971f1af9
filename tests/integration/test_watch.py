"""Watching grants over real processes: changes of one replica told by another, and restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import tokenvault_client as sdk
from tests.rpc.client_cable import Cable
from tests.support.oidc import OidcProvider
from tests.support.vault import RealVault, consent, register
from vault_service.embedded.settings_files import TENANT

_LIMIT_S = 60.0
KIND = sdk.GrantEventKind


@pytest.fixture
def ports(real_vault: RealVault, oidc: OidcProvider) -> Iterator[tuple[int, int]]:
    """Two replicas."""
    names = ("watch-a", "watch-b")
    first, second = (real_vault.serve(name, [oidc.host_port]) for name in names)
    yield first, second
    for name in names:
        if name in real_vault.processes:
            real_vault.stop_process(name)


class Watching:
    """A watch in the background."""

    def __init__(self, vault: sdk.TokenVaultClient, owner: str) -> None:
        self.seen: list[sdk.GrantEvent] = []
        self.start = ""
        self.began = asyncio.Event()
        self._arrived = asyncio.Event()
        self.task = asyncio.create_task(self._walk(vault, owner))

    async def _walk(self, vault: sdk.TokenVaultClient, owner: str) -> None:
        async for step in vault.watch_grants(sdk.tenant_name(TENANT), owner=owner):
            self.start = self.start or step.cursor
            self.began.set()
            if step.event:
                self.seen.append(step.event)
                self._arrived.set()

    async def until(self, count: int) -> list[sdk.GrantEventKind]:
        """The kinds, once there are so many."""
        async with asyncio.timeout(_LIMIT_S):
            while len(self.seen) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return [event.kind for event in self.seen]


async def test_a_watcher_loses_nothing_over_replicas_and_restarts(
    real_vault: RealVault, oidc: OidcProvider, ports: tuple[int, int]
) -> None:
    """What happens on one replica is told by the other within moments; a replica that stops ends
    its streams at once, and the watcher goes on at another one with what happened meanwhile."""
    first, second = ports
    cable = Cable(first)
    relay = await asyncio.start_server(cable.carry, "127.0.0.1", 0)
    relayed = relay.sockets[0].getsockname()[1]
    async with (
        real_vault.client("operator", second) as operator,
        real_vault.client("calendar-app", second) as app,
        real_vault.client("calendar-app", relayed) as watcher,
    ):
        await register(operator, oidc)
        watching = Watching(watcher, "watched")
        async with asyncio.timeout(_LIMIT_S):
            await watching.began.wait()
        done = await consent(app, oidc, owner="watched", user="watched", label="one")
        assert await watching.until(1) == [KIND.CREATED]
        assert watching.seen[0].grant == done.grant.name

        # The same account again: the same grant, both aliases, and the watcher is told.
        again = await consent(app, oidc, owner="watched", user="watched", label="two")
        assert again.grant.name == done.grant.name
        assert await watching.until(2) == [KIND.CREATED, KIND.RECONNECTED]
        for alias in (done.alias, again.alias):
            assert (await app.get_access_token(alias=alias, min_ttl_s=0)).grant == done.grant.name

        cable.plug_into(second)
        began = asyncio.get_running_loop().time()
        await asyncio.to_thread(real_vault.stop_process, "watch-a")
        assert asyncio.get_running_loop().time() - began < 20, "the stream held up the drain"
        await operator.revoke_grant(done.grant.name)
        await operator.delete_grant(done.grant.name)
        kinds = await watching.until(4)
        assert kinds == [KIND.CREATED, KIND.RECONNECTED, KIND.REVOKED, KIND.DELETED]
        revisions = [event.revision for event in watching.seen]
        assert revisions == sorted(set(revisions))
        watching.task.cancel()
    cable.cut()
    relay.close()
    # The whole story again, by the command, from where the watch began.
    files = await asyncio.to_thread(real_vault.client_files, second)
    watch = ("grant", "watch", TENANT, "--client", str(files["operator"]), "--owner", "watched")
    told = await asyncio.to_thread(
        real_vault.command, *watch, "--cursor", watching.start, "--count", "4"
    )
    lines = told.splitlines()
    assert [line.split()[1] for line in lines[:4]] == [kind.name for kind in kinds]
    assert lines[4].startswith("cursor: ")
    wrong = await asyncio.to_thread(real_vault.command, *watch, "--kind", "teleported", fails=2)
    assert "--kind is one of" in wrong
    # What each stream told, and how it ended, is on record.
    async with real_vault.client("auditor", second) as auditor:
        ended = [
            record.detail["ended"]
            async for record in auditor.iter_audit_records(f"tenants/{TENANT}", page_size=500)
            if record.action == "GRANT_WATCH_ENDED"
        ]
    assert "STREAM_ENDED" in ended


async def test_a_caller_without_permission_watches_nothing(
    real_vault: RealVault, ports: tuple[int, int]
) -> None:
    """Who has no rule for it is refused before anything is told."""
    async with real_vault.client("thief", ports[0]) as thief:
        with pytest.raises(sdk.NotAllowed):
            async for _ in thief.watch_grants(sdk.tenant_name(TENANT)):
                pass
