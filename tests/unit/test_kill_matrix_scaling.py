"""What the campaign of kills scales: every time of the engine, by one factor, or says why not."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.architecture.sources import ROOT
from tests.campaigns.kill_matrix.scaling import RATES, SCALED, UNSCALED, scale_engine
from vault_service.domain import limits

_LIMITS = ROOT / "vault_service" / "domain" / "limits.py"
_SECTIONS = ("Refresh attempts", "Outages of providers")
_SCALE = """
from tests.campaigns.kill_matrix.scaling import scale_engine, scaled, shipped
scale_engine(0.2)
from vault_service.domain import limits
from vault_service.domain.provider import RefreshClass
from vault_service.domain.refresh_times import RefreshTimes
strict, graceful = (RefreshTimes().for_class(*of) for of in
    ((RefreshClass.S, 0), (RefreshClass.G, scaled(60))))
print(strict.lease_s, strict.post_limit_s, graceful.lease_s, scaled(10.0),
    shipped("POST_LIMIT_S"), limits.RETRY_TRICKLE_PER_S, limits.SPOOL_LIMIT_S)
"""


def _times_of(section: str) -> set[str]:
    """Names of the times in one section of limits.py."""
    text = _LIMITS.read_text()
    found = re.search(rf"^# {section} -+\n(.*?)(?=^# [A-Z].* -{{10,}}$|\Z)", text, re.M | re.S)
    assert found is not None, section
    return set(re.findall(r"^([A-Z_]+_S) = ", found[1], re.M))


@pytest.mark.parametrize("section", _SECTIONS)
def test_every_time_of_the_engine_is_scaled_or_says_why_not(section: str) -> None:
    """A new time of a refresh or an outage must be put on one of the lists."""
    times = _times_of(section)
    assert times, section
    assert times <= {*SCALED, *RATES, *UNSCALED}, section


def test_the_lists_name_what_there_is() -> None:
    """Nothing stands on two of them, and each is a constant."""
    names = [*SCALED, *RATES, *UNSCALED]
    assert len(names) == len(set(names))
    assert all(hasattr(limits, name) for name in names)


def test_all_times_are_multiplied_by_one_factor() -> None:
    """Lease, POST limit and grace keep their ratios, rates are the other way round, and what
    belongs to the machine stays."""
    done = subprocess.run(
        [sys.executable, "-c", _SCALE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lease, post, graceful, ten, shipped, trickle, disk = map(float, done.stdout.split())
    assert (lease, post, shipped) == pytest.approx((5.0, 4.0, 20.0))
    assert graceful == pytest.approx(60 * 0.2 * limits.GRACE_LEASE_SHARE)
    assert ten == pytest.approx(2.0)
    assert trickle == pytest.approx(limits.RETRY_TRICKLE_PER_S / 0.2)
    assert disk == limits.SPOOL_LIMIT_S


def test_it_is_too_late_once_the_engine_is_there() -> None:
    """Modules that have taken a constant over would keep it: that is refused."""
    import vault_service.domain.refresh_times  # noqa: F401

    before = limits.POST_LIMIT_S
    with pytest.raises(RuntimeError, match="too late"):
        scale_engine(0.5)
    assert before == limits.POST_LIMIT_S
