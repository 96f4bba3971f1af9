"""What a refresh needs goes away in the middle of it, at a chosen point: nothing is lost.

One process reaches PostgreSQL through a proxy that stands still at the point; a sibling reaches it
directly and is asked for the same grant all the while.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tokenvault_client as sdk
from tests.support.authserver import AuthServer, Gate
from tests.support.deployment import (
    QUICK,
    environment,
    expire,
    loose_ends,
    refused_posts,
    second_posts,
    token_of,
    until,
)
from tests.support.postgres_proxy import Moment, PostgresProxy, Stop
from tests.support.vault import RealVault
from tests.support.watch import Watch

_BEGIN = "INSERT INTO refresh_attempts"
_LEASE = "INSERT INTO grant_leases"
_REFRESH = "UPDATE grants SET\n        state = 1"
# The process under the fault has no DEK in memory but those of the refresh under way.
_FORGETFUL = {
    "TOKENVAULT_DEK_CACHE__SOFT_LIFE_S": "1",
    "TOKENVAULT_DEK_CACHE__HARD_LIFE_S": "1.2",
}
_owners = (f"away-{number}" for number in itertools.count(1))

# Where the refresh stands when the fault comes. POSTED is held by the provider.
POSTED = "posted"
POINTS: dict[str, tuple[str, Moment] | None] = {
    "before_lease": (_LEASE, Moment.STATEMENT),
    "lease_unsent": (_BEGIN, Moment.COMMIT_UNSENT),
    "lease_unheard": (_BEGIN, Moment.COMMIT_UNHEARD),
    POSTED: None,
    "answered": (_REFRESH, Moment.STATEMENT),
    "commit_unsent": (_REFRESH, Moment.COMMIT_UNSENT),
    "commit_unheard": (_REFRESH, Moment.COMMIT_UNHEARD),
}


@dataclass
class Deployment:
    """The two processes, and who controls what is around them."""

    vault: RealVault
    server: AuthServer
    proxy: PostgresProxy
    ports: dict[str, int] = field(default_factory=dict)

    def start(self, name: str, **more: str) -> None:
        """The process "victim", behind the proxy, or its "sibling"."""
        own = {"TOKENVAULT_SPOOL__PATH": str(self.spool(name))}
        if name == "victim":
            own["TOKENVAULT_DATABASE__HOST"] = str(self.proxy.folder)
        env = environment(QUICK, own, more)
        self.ports[name] = self.vault.serve(name, [self.server.host_port], env)

    def spool(self, name: str) -> Path:
        """Where a process has its spool."""
        return self.vault.directory / f"spool-{name}"

    @property
    def loose_ends(self) -> list[str]:
        """Of both processes."""
        return loose_ends(self.vault, self.server, map(self.spool, self.ports))

    @contextlib.asynccontextmanager
    async def connected(self, **provider: str) -> AsyncIterator[Callers]:
        """Clients of both processes; the provider is registered with these fields."""
        async with (
            self.vault.client("operator", self.ports["sibling"]) as operator,
            self.vault.client("calendar-app", self.ports["victim"]) as victim,
            self.vault.client("calendar-app", self.ports["sibling"]) as sibling,
        ):
            await self.server.register(operator, **provider)
            yield Callers(operator, victim, sibling)


@dataclass(frozen=True, slots=True)
class Callers:
    """The operator, and an application at each process."""

    operator: sdk.TokenVaultClient
    victim: sdk.TokenVaultClient
    sibling: sdk.TokenVaultClient


# A fault holds until the block ends. None of these runs in a thread: a child lives as long as the
# thread that started it.
Fault = Callable[[Deployment], AbstractContextManager[None]]


@contextmanager
def killed(deployment: Deployment) -> Iterator[None]:
    """PostgreSQL ends at once, as in a crash, and replays its log when it is back."""
    deployment.vault.postgres.stop("immediate")
    try:
        yield
    finally:
        deployment.vault.postgres.start()


@contextmanager
def paused(deployment: Deployment) -> Iterator[None]:
    """PostgreSQL stands still: what was sent to it is done when it goes on."""
    deployment.vault.postgres.pause()
    try:
        yield
    finally:
        deployment.vault.postgres.resume()


@contextmanager
def cut(deployment: Deployment) -> Iterator[None]:
    """Every connection of one process is cut, and none comes about."""
    deployment.proxy.cut()
    try:
        yield
    finally:
        deployment.proxy.heal()


@contextmanager
def sealed(deployment: Deployment) -> Iterator[None]:
    """The key store is sealed; a restart opens it again, as an operator or auto-unseal would."""
    deployment.vault.openbao.seal()
    try:
        yield
    finally:
        deployment.vault.openbao.stop()
        deployment.vault.openbao.start()


FAULTS: dict[str, Fault] = {"killed": killed, "paused": paused, "cut": cut, "sealed": sealed}


@contextmanager
def deployed(vault: RealVault) -> Iterator[Deployment]:
    """Two processes with spools of their own; a class S server that kills families."""
    handle = vault.database
    proxy = PostgresProxy(vault.directory / "proxy", handle.socket_dir, handle.port)
    with AuthServer(vault.ca) as server, proxy.running():
        server.configure(family_kill_on_reuse=True)
        deployment = Deployment(vault, server, proxy)
        try:
            deployment.start("victim", **_FORGETFUL)
            deployment.start("sibling")
            yield deployment
        finally:
            for name in list(deployment.ports):
                vault.stop_process(name)


async def play(
    deployment: Deployment, callers: Callers, point: str, fault: Fault, away_s: float
) -> dict[str, float]:
    """One refresh of a new grant with the fault at this point. AssertionError where anything was
    lost; else how many calls were made and refused for now."""
    server, watch = deployment.server, Watch()
    completed = await server.consent(callers.victim, owner := next(_owners), life_s=0)
    grant = completed.grant.name
    with held_at(deployment, point) as held:
        calls = [asyncio.create_task(watch.ask(callers.victim, grant, "victim"))]
        await held.reached()
        calls.append(asyncio.create_task(watch.ask(callers.sibling, grant, "sibling")))
        await asyncio.sleep(0.1)
        with fault(deployment):
            held.go()
            await asyncio.sleep(away_s)
    await asyncio.gather(*calls)
    await token_of(watch, [callers.victim, callers.sibling], grant)
    await until(lambda: not deployment.loose_ends)
    # The refresh token that is held is the newest: the next refresh works, by either process.
    for client in (callers.victim, callers.sibling):
        await asyncio.to_thread(expire, deployment.vault, owner)
        await token_of(watch, [client], grant)
    return _judged(deployment, owner, watch)


def _judged(deployment: Deployment, owner: str, watch: Watch) -> dict[str, float]:
    (family,) = deployment.server.families(subject=owner)
    names = [family.name]
    assert second_posts(deployment.server, names) == []
    assert refused_posts(deployment.server, names) == []
    assert family.killed is None
    assert watch.final == []
    assert watch.violations() == {}
    posts = len(deployment.server.entries(kind="refresh_token", families=names))
    assert posts == family.generation - 1 == 3
    return {
        "calls": watch.calls,
        "refused_for_now": watch.retryable.total(),
        "longest_call_s": round(max(watch.durations_s), 1),
        "posts": posts,
    }


@dataclass
class Held:
    """A refresh that stands still at a point."""

    deployment: Deployment
    stop: Stop | None
    gate: Gate | None
    posts: int

    async def reached(self) -> None:
        """Wait until it stands there."""
        if self.stop is not None:
            assert await asyncio.to_thread(self.stop.reached.wait, 20), self.stop
            return
        server = self.deployment.server
        await until(lambda: len(server.sent("refresh_token")) > self.posts)

    def go(self) -> None:
        """It goes on, if it can."""
        if self.stop is not None:
            self.deployment.proxy.release(self.stop)
        if self.gate is not None:
            self.gate.set()


@contextmanager
def held_at(deployment: Deployment, point: str) -> Iterator[Held]:
    """The next refresh by the process behind the proxy stands still there."""
    where = POINTS[point]
    posts = len(deployment.server.sent("refresh_token"))
    if where is not None:
        yield Held(deployment, deployment.proxy.stop_at(*where), None, posts)
        return
    with deployment.server.held(kind="refresh_token") as gate:
        yield Held(deployment, None, gate, posts)
