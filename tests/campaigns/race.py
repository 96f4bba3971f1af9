"""Many callers in several processes want a token of the same grant at the same moment.

The server kills a family whose dead refresh token is presented, so that a second POST of one
generation shows twice: in its ledger, and as a grant that is gone.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass

import tokenvault_client as sdk
from tests.support.authserver import AuthServerProcess, Done, RemoteAuthServer
from tests.support.deployment import environment, expire, second_posts
from tests.support.vault import RealVault
from tests.support.watch import Watch

_CONSENTS_AT_ONCE = 8
_CALL_LIMIT_S = 60.0
_MIN_TTL_S = 0.5  # of lives of seconds: a busy machine must not eat up what is left


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played. ``waves``: for how many grants all callers ask at the same time."""

    callers: int
    processes: int
    grants: int
    waves: int = 1
    generations: int = 1  # races for each grant, one after another
    steady_grants: int = 4  # whose tokens end under callers that never stop asking
    steady_s: float = 10.0
    steady_life_s: int = 3


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it. All but ``calls``, ``posts`` and the times must be 0."""

    calls: int
    tokens: int
    retryable: dict[str, int]
    final: list[str]
    posts: int
    generations: int
    second_posts: int
    posts_refused: int
    families_killed: int
    history_violations: dict[str, int]
    not_renewable: int  # grants whose refresh token the server would not take afterwards
    wave_median_s: float
    wave_most_s: float
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        wrong = (
            self.second_posts, self.posts_refused, self.families_killed,
            len(self.history_violations), self.not_renewable, len(self.final),
            self.posts - self.generations,
        )  # fmt: skip
        return not any(wrong)


async def play(vault: RealVault, plan: Plan) -> Found:
    """Start the processes, race, and look at everything."""
    names = [f"race-{number}" for number in range(plan.processes)]
    with AuthServerProcess(vault.directory, vault.ca) as server:
        server.configure(family_kill_on_reuse=True, expires_in_s=3_600)
        try:
            ports = [
                vault.serve(name, [server.host_port], spool_of_its_own(vault, name))
                for name in names
            ]
            return await _play(vault, plan, server, ports)
        finally:
            for name in names:
                if name in vault.processes:
                    vault.stop_process(name)


def spool_of_its_own(vault: RealVault, name: str) -> dict[str, str]:
    """The environment of a process that shares no folder with its siblings."""
    return environment({"TOKENVAULT_SPOOL__PATH": str(vault.directory / f"spool-{name}")})


async def _play(
    vault: RealVault, plan: Plan, server: RemoteAuthServer, ports: Sequence[int]
) -> Found:
    watch, waves, began = Watch(), [0.0] * 0, time.monotonic()
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(vault.client("operator", ports[0]))
        await server.register(operator)
        callers = [
            await stack.enter_async_context(
                vault.client("calendar-app", ports[number % plan.processes], _CALL_LIMIT_S)
            )
            for number in range(plan.callers)
        ]
        grants = await _consents(server, callers, plan.grants)
        for number in range(plan.generations):
            if number:
                await asyncio.to_thread(expire, vault)
            waves += await _race(watch, callers, grants, plan.waves)
        await _steady(vault, plan, server, callers, watch)
        calls, tokens, retryable = watch.calls, watch.answers, dict(watch.retryable)
        await asyncio.to_thread(expire, vault)
        renewed = await _race(watch, callers[:1], grants, _CONSENTS_AT_ONCE)
    entries = server.entries(kind="refresh_token")
    given = [entry for entry in entries if entry.done is Done.ISSUED]
    last = Counter(entry.family for entry in given)
    return Found(
        calls=calls,
        tokens=tokens,
        retryable=retryable,
        final=watch.final,
        posts=len(entries) - len(renewed),
        generations=sum(state.generation - 1 for state in server.families()) - len(renewed),
        second_posts=len(second_posts(server)),
        posts_refused=len(entries) - len(given),
        families_killed=sum(state.killed is not None for state in server.families()),
        history_violations=watch.violations(),
        not_renewable=sum(count <= plan.generations for count in last.values())
        + plan.grants + plan.steady_grants - len(last),
        wave_median_s=round(statistics.median(waves), 4),
        wave_most_s=round(max(waves), 4),
        seconds=round(time.monotonic() - began, 1),
    )  # fmt: skip


async def _consents(
    server: RemoteAuthServer, callers: Sequence[sdk.TokenVaultClient], count: int
) -> list[str]:
    """Grants whose first access token is stale on arrival."""
    free = asyncio.Semaphore(_CONSENTS_AT_ONCE)

    async def consent(number: int) -> str:
        async with free:
            client = callers[number % len(callers)]
            completed = await server.consent(client, f"race-{number}", life_s=0)
            return completed.grant.name

    return list(await asyncio.gather(*map(consent, range(count))))


async def _race(
    watch: Watch, callers: Sequence[sdk.TokenVaultClient], grants: Sequence[str], at_once: int
) -> list[float]:
    """All callers ask for each grant at the same moment; the length of each wave in seconds."""
    free = asyncio.Semaphore(at_once)

    async def wave(grant: str) -> float:
        async with free:
            began = time.monotonic()
            shuffled = random.sample(list(enumerate(callers)), len(callers))
            await asyncio.gather(
                *(watch.ask(client, grant, f"caller-{number}") for number, client in shuffled)
            )
            return time.monotonic() - began

    return list(await asyncio.gather(*map(wave, grants)))


async def _steady(
    vault: RealVault,
    plan: Plan,
    server: RemoteAuthServer,
    callers: Sequence[sdk.TokenVaultClient],
    watch: Watch,
) -> None:
    """Tokens end again and again under callers that ask without a pause."""
    server.configure(expires_in_s=plan.steady_life_s)
    consents = [
        await server.consent(callers[0], f"steady-{number}", life_s=0)
        for number in range(plan.steady_grants)
    ]
    for completed in consents:
        await watch.ask(callers[0], completed.grant.name, "steady-first")
    until = time.monotonic() + plan.steady_s

    async def ask(number: int, client: sdk.TokenVaultClient) -> None:
        grant = consents[number % len(consents)].grant.name
        while time.monotonic() < until:
            await watch.ask(client, grant, f"steady-{number}", min_ttl_s=_MIN_TTL_S)

    await asyncio.gather(*(ask(number, client) for number, client in enumerate(callers)))


def as_result(plan: Plan, found: Found) -> dict[str, object]:
    """For bench/results."""
    return {"plan": asdict(plan), "found": asdict(found), "clean": found.clean}
