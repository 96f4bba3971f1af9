"""Thousands of callers that hang up at random milliseconds."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from tests.campaigns import cancelled
from tests.campaigns.results import keep
from tests.support.vault import RealVault

_WHAT = """\
Two `serve` processes; in each of 100 rounds the tokens of 10 class S grants end, and 100 callers
ask: 70 % cancel after 1 to 80 ms, 30 % have a deadline of 101 to 180 ms, while the provider takes
up to 50 ms. left_over counts flights that a process had not ended when it was told to stop."""


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_hanging_up_at_random_moments(vault: RealVault) -> None:
    """One POST for each generation, no flight left, and every grant works afterwards."""
    seed = cancelled.seed_of_today()
    found = await cancelled.play(vault, grants=10, callers=100, rounds=100, seed=seed)
    command = "make test-long PYTEST_ARGS=tests/campaigns/test_cancelled.py"
    keep(
        "cancelled",
        " ".join(_WHAT.split()),
        command,
        {"seed": seed, **asdict(found)},
        clean=found.clean,
    )
    assert found.clean, found
    assert found.cancelled > 2_000
    assert found.generations > 500
