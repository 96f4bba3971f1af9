"""Providers that answer 503 for ten seconds to four minutes, at the settings that ship: nothing is
scaled, since all outages go on at the same time, each at a provider of its own.

Where the first request is ``carried`` out and answered 503 all the same, the refresh token that is
held is dead or will be at the end of its grace. Every grant has a caller that comes again when it
is told to; the others' success is what releases those in doubt.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import tokenvault_client as sdk
from tests.support.authserver import (
    Answer,
    AuthServer,
    Behaviour,
    Fault,
    Killed,
    RefreshClass,
    Rule,
    VaultSide,
)
from tests.support.vault import RealVault

_AWAY = Answer.html(503)
_AT_ONCE = 16
_ASK_LIMIT_S = 20.0
BACK_WITHIN_S = 30.0  # as docs/how-to/provider-outage.md has it: until somebody is served


@dataclass(frozen=True, slots=True)
class Outage:
    """One provider that is down. ``grants``: whose refresh is under way or asked for meanwhile."""

    refresh_class: str
    down_s: float
    grace_s: int = 0
    carried: bool = False
    grants: int = 20

    @property
    def name(self) -> str:
        """Of its realm."""
        carried = "-carried" if self.carried else ""
        grace = f"-{self.grace_s}" if self.grace_s else ""
        return f"{self.refresh_class.lower()}{grace}-down-{self.down_s:g}{carried}"


# What ships: the pause in doubt is 5 s and doubles, a breaker is open for 15 s at most.
WHOLE = (
    *(Outage("S", down_s) for down_s in (10, 30, 60, 120, 240)),
    *(Outage("N", down_s) for down_s in (30, 240)),
    Outage("M", 120),
    *(Outage("G", 240, grace_s) for grace_s in (10, 60)),
    Outage("G", 10, 30, carried=True),
    Outage("G", 20, 30, carried=True),
    *(Outage("G", down_s, 60, carried=True) for down_s in (10, 30, 46)),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one; times in seconds since the provider was back."""

    first_s: float
    median_s: float
    last_s: float
    posts: int
    lost: int  # grants that need consent again
    families_killed: int
    final: dict[str, int]  # answers to callers that are none of "later"

    @property
    def clean(self) -> bool:
        """Nothing lost, the first caller served in time, and soon all of them."""
        lost = self.lost or self.families_killed or self.final
        return not lost and self.first_s <= BACK_WITHIN_S and self.last_s <= 2 * BACK_WITHIN_S


@dataclass
class _Asked:
    came_s: list[float]
    final: dict[str, int]


async def play(
    vault: RealVault, server: AuthServer, ports: Sequence[int], outages: Sequence[Outage]
) -> dict[str, Found]:
    """All of them at the same time."""
    apps = [vault.client("calendar-app", port, 60) for port in ports]
    try:
        sides = [await _place(vault, server, ports[0], outage) for outage in outages]
        grants = [
            await _consents(apps, side, outage) for side, outage in zip(sides, outages, strict=True)
        ]
        found = await asyncio.gather(
            *(
                _play(vault, server, apps, *each)
                for each in zip(outages, sides, grants, strict=True)
            )
        )
    finally:
        for app in apps:
            await app.close()
    return dict(zip((outage.name for outage in outages), found, strict=True))


async def _place(vault: RealVault, server: AuthServer, port: int, outage: Outage) -> VaultSide:
    behaviour = Behaviour(
        refresh_class=RefreshClass(outage.refresh_class),
        grace_s=outage.grace_s,
        family_kill_on_reuse=outage.refresh_class in ("G", "S"),
    )
    side = server.realm(outage.name, behaviour)
    async with vault.client("operator", port) as operator:
        await side.register(operator)
    return side


async def _consents(
    apps: Sequence[sdk.TokenVaultClient], side: VaultSide, outage: Outage
) -> list[str]:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> str:
        async with turns:
            owner = f"{side.realm_name}-{number}"
            done = await side.consent(apps[number % len(apps)], owner, life_s=0)
            return done.grant.name

    return list(await asyncio.gather(*map(one, range(outage.grants))))


async def _play(
    vault: RealVault,
    server: AuthServer,
    apps: Sequence[sdk.TokenVaultClient],
    outage: Outage,
    side: VaultSide,
    grants: Sequence[str],
) -> Found:
    families = [family.name for family in server.families() if family.realm == side.realm_name]
    if outage.carried:
        done = Fault(answer=_AWAY, commits=True)
        server.add_rules(*(Rule(fault=done, family=name, for_s=outage.down_s) for name in families))
    server.add_rules(
        Rule(
            fault=Fault(answer=_AWAY), kind="any", realm=side.realm_name, times=None,
            for_s=outage.down_s,
        )
    )  # fmt: skip
    back = time.monotonic() + outage.down_s
    asked = _Asked([], {})
    await asyncio.gather(
        *(_ask(apps[number % len(apps)], grant, asked) for number, grant in enumerate(grants))
    )
    came_s = [moment - back for moment in asked.came_s] or [float("nan")]
    client = side.oauth_client.rpartition("/")[2]
    (lost,) = await asyncio.to_thread(
        vault.sql,
        f"SELECT count(*) FROM tokenvault.grants WHERE oauth_client = '{client}' AND state <> 1",
    )
    ends = server.families(families)
    return Found(
        first_s=round(min(came_s), 1),
        median_s=round(statistics.median(came_s), 1),
        last_s=round(max(came_s), 1),
        posts=len(server.entries(kind="refresh_token", families=families)),
        lost=lost,
        families_killed=sum(end.killed is Killed.REUSE for end in ends),
        final=asked.final,
    )


async def _ask(app: sdk.TokenVaultClient, grant: str, asked: _Asked) -> None:
    """Again when it is told to, until there is a token or no hope."""
    while True:
        try:
            await app.get_access_token(grant=grant, timeout_s=_ASK_LIMIT_S)
        except (sdk.TryLater, sdk.DeadlineExceeded, sdk.ConnectionLost) as error:
            await asyncio.sleep(error.retry_after_s or 1.0)
        except sdk.TokenVaultError as error:
            said = error.reason or type(error).__name__
            asked.final[said] = asked.final.get(said, 0) + 1
            return
        else:
            asked.came_s.append(time.monotonic())
            return
