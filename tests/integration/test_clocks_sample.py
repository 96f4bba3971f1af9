"""Wall clocks a day off, for a few seconds; the whole campaign is tests/campaigns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.campaigns import clocks
from tests.support.faketime import require_faketime
from tests.support.vault import RealVault, running_vault


@pytest.fixture(scope="module")
def aged_vault() -> Iterator[RealVault]:
    """A deployment whose certificates were valid two days ago already."""
    with running_vault(clocks.certificates_clock) as running:
        yield running


async def test_a_replica_a_day_off_changes_nothing(aged_vault: RealVault) -> None:
    """Replicas a day ahead, a day behind and jumping share grants with one that is right: one POST
    for each generation, and no expired or older token handed out."""
    found = await clocks.play(aged_vault, require_faketime(), grants=4, callers=16, seconds=7)
    assert found.clean, found
    assert found.generations > 4
