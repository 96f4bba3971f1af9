"""Callers that hang up; the whole campaign is tests/campaigns."""

from __future__ import annotations

from tests.campaigns import cancelled
from tests.support.vault import RealVault


async def test_callers_that_hang_up_change_nothing(real_vault: RealVault) -> None:
    """Whoever hangs up at whatever moment, each generation has one POST, no flight is left when the
    process ends, and every grant works afterwards."""
    found = await cancelled.play(real_vault, grants=3, callers=30, rounds=5, seed=1)
    assert found.clean, found
    assert found.cancelled > 20
