"""Wall clocks a day off for a minute and a half."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import pytest

from tests.campaigns import clocks
from tests.campaigns.results import keep
from tests.support.faketime import require_faketime
from tests.support.vault import RealVault, running_vault

_WHAT = """\
Four `serve` processes on one database: one with the right wall clock, one a day ahead, one a day
behind, and one whose clock jumps by a day to and fro every 1.5 s (libfaketime, wall clock only).
64 callers ask them without a pause for 16 class S grants, for 90 s: once tokens live 5 s and
callers want 0.5 s of it; once, as when the campaign first failed, they live 3 s and callers say
nothing of how much they want."""


@pytest.fixture(scope="module")
def aged_vault() -> Iterator[RealVault]:
    """A deployment whose certificates were valid two days ago already."""
    with running_vault(clocks.certificates_clock) as running:
        yield running


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_day_of_difference(aged_vault: RealVault) -> None:
    """One POST for each generation, no expired or older token handed out, and each end of a token
    is the provider's, whatever a replica's clock says; at the settings that failed first too."""
    library = require_faketime()
    found = {
        name: await clocks.play(
            aged_vault, library, grants=16, callers=64, seconds=90, settings=settings
        )
        for name, settings in (("usual", clocks.Settings()), ("failed_first", clocks.FAILED_FIRST))
    }
    command = "make test-long PYTEST_ARGS=tests/campaigns/test_clocks.py"
    results = {name: asdict(each) for name, each in found.items()}
    keep(
        "clocks",
        " ".join(_WHAT.split()),
        command,
        results,
        clean=all(each.clean for each in found.values()),
    )
    for name, each in found.items():
        assert each.clean, (name, each)
        assert each.generations > 16 * 12, (name, each)
