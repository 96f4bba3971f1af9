"""The whole race: 256 callers, 4 processes, 1,000 grants."""

from __future__ import annotations

import pytest

from tests.campaigns import race
from tests.campaigns.results import keep
from tests.support.vault import RealVault

_PLAN = race.Plan(
    callers=256,
    processes=4,
    grants=1_000,
    waves=2,
    steady_grants=16,
    steady_s=60.0,
    steady_life_s=4,
)
_WHAT = """\
4 `serve` processes with spools of their own on one PostgreSQL and one OpenBao; 256 clients of the
SDK, each with an mTLS connection of its own, 64 to each process; a class S server that kills the
family whose dead refresh token it sees. For each of 1,000 grants with an expired access token all
256 ask at the same moment, two grants at a time. Then 60 s in which all 256 ask 16 grants without
a pause while tokens live 4 s. At the end each grant is refreshed once more, to prove that its
refresh token is the newest."""


@pytest.mark.long
@pytest.mark.timeout(2_400)
async def test_one_post_for_each_generation(vault: RealVault) -> None:
    """One POST for each generation, no family killed, and every caller has the winner's token or a
    reason to try again."""
    found = await race.play(vault, _PLAN)
    command = "make test-long PYTEST_ARGS=tests/campaigns/test_race.py"
    keep("race", " ".join(_WHAT.split()), command, race.as_result(_PLAN, found), clean=found.clean)
    assert found.clean, found
    assert found.generations > _PLAN.grants
