"""Real processes killed at every point of a refresh; ``make kill-matrix`` does thousands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.kill_matrix.moments import POINTS
from tests.campaigns.kill_matrix.plan import cases_of_round

_ROOT = Path(__file__).parents[2]
_SEED = 1
# Those for which a machine that is busy with other tests cannot be too late, as it can for a grace
# that is a part of a second here.
_KINDS = ("n", "m", "s", "s-introspects", "s-probed")
_GROUPS = ("plain", "odd")


def _campaign(file: Path, *arguments: str, limit_s: float) -> dict[str, Any]:
    # A process of its own: it forks, and this one has threads.
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaigns.kill_matrix", "--resume", str(file), *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=limit_s,
    )
    assert file.exists(), done.stderr[-4_000:]
    facts: dict[str, Any] = json.loads(file.read_text())
    assert facts["harness_faults"] == 0, facts["findings"]
    return facts


def _require_nothing_lost(facts: dict[str, Any]) -> None:
    findings = facts["findings"]
    assert facts["loss_outside_window"] == 0, findings
    assert (facts["loss"]["N"], facts["loss"]["M"]) == (0, 0), findings
    assert facts["grace"]["kept"]["lost"] == 0, findings
    for name in ("never_resolved", "double_posts", "not_usable_afterwards", "spool_entries_left"):
        assert facts[name] == 0, (name, findings)
    wrong = {name: count for name, count in facts["databases"].items() if count}
    assert wrong.keys() == {"grants", "attempts"}, wrong


def test_one_round_of_kills(tmp_path: Path) -> None:
    """SIGKILL at each point, for each class without a grace, with one replica and with three, after
    answers in every odd form too: nothing is lost but in the named window of class S, and nothing
    is left open. What must be done in time, inside a grace, is for the campaign and not for here,
    where tests run beside it."""
    wanted = [
        case
        for case in cases_of_round(0, _SEED)
        if case.provider in _KINDS and case.group in _GROUPS
    ]
    options = ["--runs", str(len(wanted)), "--scale", "0.04", "--slots", "16"]
    options += ["--kinds", ",".join(_KINDS), "--groups", ",".join(_GROUPS)]
    facts = _campaign(tmp_path / "round.json", *options, limit_s=110)
    _require_nothing_lost(facts)
    for point in POINTS:
        for name in ("N", "M", "S"):
            assert facts["by_point_and_class"][point][name]["runs"] == 2, (point, name)
    before_the_request = ("K0", "K1", "K2", "K3")
    after_the_answer = ("K10", "K11", "K12")
    for point in (*before_the_request, *after_the_answer):
        assert facts["by_point_and_class"][point]["S"]["lost_in_window"] == 0, point
    assert facts["by_point_and_class"]["K6"]["S"]["lost_in_window"] == 2


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("transit", [False, True])
def test_many_kills(tmp_path: Path, transit: bool) -> None:
    """The same for some minutes with all that a campaign has; once with every process asking the
    key store for its own keys."""
    more = ["--transit"] if transit else []
    options = ["--runs", "100000", "--limit-s", "300", "--seed", "2", "--slots", "48", *more]
    facts = _campaign(tmp_path / "many.json", *options, limit_s=1_200)
    _require_nothing_lost(facts)
    assert facts["runs"] >= 500
