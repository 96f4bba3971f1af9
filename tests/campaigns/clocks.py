"""Replicas whose wall clocks are a day off, and jump: leases, lives and histories do not care."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import tokenvault_client as sdk
from tests.campaigns.race import spool_of_its_own
from tests.support.authserver import AuthServer
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
from tests.support.faketime import faked, faked_by
from tests.support.vault import RealVault
from tests.support.watch import Watch

REPLICAS = ("right", "ahead", "behind", "jumping")


@dataclass(frozen=True, slots=True)
class Settings:
    """How long tokens live and how much of it callers want; None: what a caller gets unasked."""

    life_s: int = 5
    min_ttl_s: float | None = 0.5  # what is left must not be eaten up by a busy machine

    @property
    def all_are_seen(self) -> bool:
        """Whether each generation is somebody's. Who asks for nothing is given half of a life: a
        token that has less when its caller could have it is refreshed once more."""
        return self.min_ttl_s is not None


# What failed when the campaign was first run.
FAILED_FIRST = Settings(life_s=3, min_ttl_s=None)


def certificates_clock() -> datetime:
    """Certificates that a replica accepts which is two days back."""
    return datetime.now(UTC) - timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it; all must be 0 or empty but the first four and those unseen."""

    calls: int
    tokens: int
    retryable: dict[str, int]
    generations: int
    posts_beyond: int
    second_posts: int
    posts_refused: int
    families_killed: int
    history_violations: dict[str, int]
    generations_unseen: int  # that no caller received; one of the violations where all should be
    wrong_ends: int  # expire_times that are not the provider's life from now on
    final: list[str]

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        wrong = (
            self.posts_beyond, self.second_posts, self.posts_refused, self.families_killed,
            len(self.history_violations), self.wrong_ends, len(self.final),
        )  # fmt: skip
        return not any(wrong)


async def play(
    vault: RealVault,
    library: Path,
    *,
    grants: int,
    callers: int,
    seconds: float,
    settings: Settings = Settings(),
) -> Found:
    """Callers ask four replicas for grants whose tokens end every few seconds, while the clock of
    one jumps by a day to and fro."""
    jumps = vault.directory / "offset"
    jumps.write_text("+0\n")
    clocks = {
        "right": {},
        "ahead": faked(library, "+1d"),
        "behind": faked(library, "-1d"),
        "jumping": faked_by(library, jumps),
    }
    with AuthServer(vault.ca) as server:
        server.configure(family_kill_on_reuse=True, expires_in_s=settings.life_s)
        try:
            ports = [
                vault.serve(
                    name,
                    [server.host_port],
                    environment(QUICK, spool_of_its_own(vault, name), clocks[name]),
                )
                for name in REPLICAS
            ]
            off = [days_off(vault.directory / f"{name}.log") for name in REPLICAS[:3]]
            assert off == [0.0, 1.0, -1.0], "the clocks are not faked"
            return await _play(
                vault,
                server,
                ports,
                jumps,
                settings,
                grants=grants,
                callers=callers,
                seconds=seconds,
            )
        finally:
            for name in REPLICAS:
                if name in vault.processes:
                    vault.stop_process(name)


async def _play(
    vault: RealVault,
    server: AuthServer,
    ports: Sequence[int],
    jumps: Path,
    settings: Settings,
    *,
    grants: int,
    callers: int,
    seconds: float,
) -> Found:
    watch = Watch()
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(vault.client("operator", ports[0]))
        await server.register(operator)
        clients = [
            await stack.enter_async_context(vault.client("calendar-app", port)) for port in ports
        ]
        owners = f"clock-{settings.life_s}"
        consents = [
            await server.consent(clients[number % len(clients)], f"{owners}-{number}", life_s=0)
            for number in range(grants)
        ]
        names = [completed.grant.name for completed in consents]
        for name in names:
            await watch.ask(clients[0], name, "first")
        until_s = time.monotonic() + seconds
        jumping = asyncio.create_task(_jump(jumps, until_s))
        wrong_ends = await asyncio.gather(
            *(
                _ask(watch, clients[number % len(clients)], names, number, until_s, settings)
                for number in range(callers)
            )
        )
        await jumping
        for name in names:
            await asyncio.to_thread(expire, vault)
            await token_of(watch, clients, name)
        spools = [vault.directory / f"spool-{name}" for name in REPLICAS]
        await until(lambda: not loose_ends(vault, server, spools))
    families = server.families()
    steps = sum(family.generation - 1 for family in families)
    return Found(
        calls=watch.calls,
        tokens=watch.answers,
        retryable=dict(watch.retryable),
        generations=steps,
        posts_beyond=len(server.sent("refresh_token")) - steps,
        second_posts=len(second_posts(server)),
        posts_refused=len(refused_posts(server)),
        families_killed=sum(family.killed is not None for family in families),
        history_violations=watch.violations(every_generation_seen=settings.all_are_seen),
        generations_unseen=watch.violations().get("gap", 0),
        wrong_ends=sum(wrong_ends),
        final=watch.final,
    )


async def _ask(
    watch: Watch,
    client: sdk.TokenVaultClient,
    grants: Sequence[str],
    number: int,
    until_s: float,
    settings: Settings,
) -> int:
    """How many tokens had an end that no clock but a wrong one explains."""
    wrong = 0
    while time.monotonic() < until_s:
        token = await watch.ask(
            client, grants[number % len(grants)], f"caller-{number}", min_ttl_s=settings.min_ttl_s
        )
        if token is not None:
            left_s = (token.expire_time - datetime.now(UTC)).total_seconds()
            wrong += left_s > settings.life_s + 1
    return wrong


async def _jump(file: Path, until_s: float) -> None:
    """The last offset is none."""
    for offset in itertools.cycle(("+1d", "-1d", "+0", "-1d", "+1d", "+0")):
        await asyncio.to_thread(file.write_text, f"{offset}\n")
        if time.monotonic() > until_s and offset == "+0":
            return
        await asyncio.sleep(1.5)


def days_off(log: Path) -> float:
    """By how many days the clock of the process that wrote this log differs from ours."""
    last = json.loads(log.read_text().splitlines()[-1])["time"]
    off = datetime.fromisoformat(last) - datetime.now(UTC)
    return round(off.total_seconds() / 86_400, 1)
