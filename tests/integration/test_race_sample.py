"""A short race of many callers over several processes; the whole one is tests/campaigns."""

from __future__ import annotations

from tests.campaigns import race
from tests.support.vault import RealVault


async def test_a_herd_over_processes_makes_one_post_a_generation(real_vault: RealVault) -> None:
    """One POST for each generation of each grant, no family killed, and every caller has the
    winner's token or a reason to try again; so too where tokens end under callers that go on."""
    plan = race.Plan(
        callers=64, processes=2, grants=10, generations=1, steady_grants=2, steady_s=5,
        steady_life_s=3,
    )  # fmt: skip
    found = await race.play(real_vault, plan)
    assert found.clean, found
    assert found.tokens > plan.callers * plan.grants
    assert found.generations > plan.grants * plan.generations + plan.steady_grants
