"""Callers that hang up at random moments: the refresh goes on without them, and nothing leaks."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import tokenvault_client as sdk
from tests.campaigns.race import spool_of_its_own
from tests.support.authserver import AuthServer, Fault, Rule
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
from tests.support.vault import RealVault
from tests.support.watch import Watch

NAMES = ("hung-up-1", "hung-up-2")


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it; all must be 0 or empty but the first five."""

    calls: int
    cancelled: int
    tokens: int
    retryable: dict[str, int]
    generations: int
    posts_beyond: int
    second_posts: int
    posts_refused: int
    families_killed: int
    history_violations: dict[str, int]
    left_over: int  # flights that the processes had not ended when they were told to stop
    final: list[str]

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        wrong = (
            self.posts_beyond, self.second_posts, self.posts_refused, self.families_killed,
            len(self.history_violations), self.left_over, len(self.final),
        )  # fmt: skip
        return not any(wrong)


async def play(vault: RealVault, *, grants: int, callers: int, rounds: int, seed: int) -> Found:
    """In each round every grant's token ends, callers ask and most hang up within 80 ms, by
    cancelling or by a deadline; the provider takes up to 50 ms to answer."""
    chance = random.Random(seed)
    with AuthServer(vault.ca) as server:
        server.configure(family_kill_on_reuse=True)
        server.add_rules(
            *(
                Rule(fault=Fault(delay_after_s=delay_s), times=None, chance=0.5)
                for delay_s in (0.01, 0.02, 0.05)
            )
        )
        try:
            ports = [
                vault.serve(
                    name,
                    [server.host_port],
                    environment(QUICK, spool_of_its_own(vault, name)),
                )
                for name in NAMES
            ]
            watch, cancelled = await _play(
                vault, server, ports, chance, grants=grants, callers=callers, rounds=rounds
            )
        finally:
            for name in NAMES:
                if name in vault.processes:
                    vault.stop_process(name)
        families = server.families()
        steps = sum(family.generation - 1 for family in families)
        return Found(
            calls=watch.calls + cancelled,
            cancelled=cancelled,
            tokens=watch.answers,
            retryable=dict(watch.retryable),
            generations=steps,
            posts_beyond=len(server.sent("refresh_token")) - steps,
            second_posts=len(second_posts(server)),
            posts_refused=len(refused_posts(server)),
            families_killed=sum(family.killed is not None for family in families),
            history_violations=watch.violations(every_generation_seen=False),
            left_over=sum(_unfinished(vault.directory / f"{name}.log") for name in NAMES),
            final=watch.final,
        )


async def _play(
    vault: RealVault,
    server: AuthServer,
    ports: list[int],
    chance: random.Random,
    *,
    grants: int,
    callers: int,
    rounds: int,
) -> tuple[Watch, int]:
    watch, cancelled = Watch(), 0
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(vault.client("operator", ports[0]))
        await server.register(operator)
        clients = [
            await stack.enter_async_context(vault.client("calendar-app", port)) for port in ports
        ]
        names = [
            (await server.consent(clients[0], f"hung-up-{number}", life_s=0)).grant.name
            for number in range(grants)
        ]
        for _ in range(rounds):
            await asyncio.to_thread(expire, vault)
            left = await asyncio.gather(
                *(
                    _impatient(watch, chance.choice(clients), chance.choice(names), chance)
                    for _ in range(callers)
                )
            )
            cancelled += sum(left)
        for name in names:
            await token_of(watch, clients, name)
        spools = [vault.directory / f"spool-{name}" for name in NAMES]
        await until(lambda: not loose_ends(vault, server, spools))
    return watch, cancelled


async def _impatient(
    watch: Watch, client: sdk.TokenVaultClient, grant: str, chance: random.Random
) -> bool:
    """Whether it was cancelled before it had an answer. Some ask with a short deadline instead."""
    await asyncio.sleep(chance.uniform(0, 0.02))
    patience_s = chance.uniform(0.001, 0.08)
    if chance.random() < 0.3:
        await watch.ask(client, grant, "deadline", timeout_s=0.1 + patience_s)
        return False
    task = asyncio.create_task(watch.ask(client, grant, "cancelled"))
    done, _ = await asyncio.wait({task}, timeout=patience_s)
    if not done:
        task.cancel()
        await asyncio.wait({task})
    return task.cancelled()


def _unfinished(log: Path) -> int:
    """What the process said of its flights when it ended; every process must have said it."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    (stopped,) = [line for line in lines if line["event"] == "stopped"]
    return int(stopped["unfinished"])


def seed_of_today() -> int:
    """Another one every day, told by what is written down."""
    return int(time.time() // 86_400)
