"""PostgreSQL killed, paused or cut off, and the key store sealed, at each point of a refresh."""

from __future__ import annotations

import pytest

from tests.campaigns import away
from tests.campaigns.results import keep
from tests.support.vault import RealVault
from vault_service.domain import limits

_AWAY_S = 2.5
_WHAT = """\
One refresh of a class S grant through a `serve` process that forgets opened keys after a second
and reaches PostgreSQL through a proxy, with a sibling asked for the same grant; at each point of
the refresh PostgreSQL is killed (immediate), paused or cut off for 2.5 s, or OpenBao is sealed.
Afterwards both processes give tokens without hands, and two more refreshes prove that the held
refresh token is the newest. posts is 3 where no refresh token was presented twice: the one under
the fault and those two. longest_call_s is what a caller waited, retries of its client included."""


@pytest.mark.long
@pytest.mark.timeout(1_500)
async def test_nothing_is_lost_at_any_point(vault: RealVault) -> None:
    """For each fault at each point: one POST for each generation, no grant lost, and both processes
    work again by themselves."""
    found: dict[str, dict[str, float]] = {}
    with away.deployed(vault) as deployment:
        async with deployment.connected() as callers:
            for name, fault in away.FAULTS.items():
                for point in away.POINTS:
                    found[f"{name} at {point}"] = await away.play(
                        deployment, callers, point, fault, _AWAY_S
                    )
    command = "make test-long PYTEST_ARGS=tests/campaigns/test_away.py"
    keep("away", " ".join(_WHAT.split()), command, found, clean=True)
    assert len(found) == len(away.FAULTS) * len(away.POINTS)


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_away_for_longer_than_an_answer_is_offered(vault: RealVault) -> None:
    """PostgreSQL is gone for longer than the process offers it the tokens that it was given: they
    come from its spool."""
    with away.deployed(vault) as deployment:
        async with deployment.connected() as callers:
            away_s = limits.COMMIT_RETRY_S + 8
            await away.play(deployment, callers, "answered", away.killed, away_s)
