"""What a campaign has come to: counts by point, class, group and ending, and each run that is a
finding.

The file is the campaign's memory too: ``next`` is the run to go on with, after those that were
``under_way`` when it was interrupted. ``runs_without_ledger`` are those whose databases nobody has
read: of the chunk that runs, and of each that was interrupted. A file of another state of the
source, of another scale or another seed is not gone on with.
"""

from __future__ import annotations

import json
import platform
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tests.campaigns.kill_matrix import scaling
from tests.campaigns.kill_matrix.campaign import Chunk
from tests.campaigns.kill_matrix.method import METHOD
from tests.campaigns.kill_matrix.moments import CLASSES, ENDINGS, GRACES_S, MOMENTS, POINTS
from tests.campaigns.kill_matrix.plan import RANDOM
from tests.campaigns.results import SOURCE, machine
from tests.support.authserver import Verdict

_LOSSES = (Verdict.LOST.value, Verdict.KILLED_FAMILY.value)
_IN_WINDOW = Verdict.LOST_IN_WINDOW.value
GROUPS: Final = ("plain", "odd", "destroyed", RANDOM, "outage", "away")
_FINDINGS_MAX = 50
_RESOLVED_S = (1.0, 5.0, 10.0, 20.0, 26.0, 30.0, 40.0, 60.0, 90.0, 180.0, 300.0, 600.0, 900.0)
_WINDOW_MS = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0)
# Deaths behind the window, to which nothing was held back.
_UNHINDERED = frozenset({m.name for m in MOMENTS if m.point in ("K11", "K12") and not m.waits_for})
_LATER: Final = {"UNTIL_SUCCESSOR_USED": "this class is not built yet"}


class Tally:
    """Counts; ``facts`` is what the file holds."""

    def __init__(self, seed: int, known: dict[str, Any] | None = None) -> None:
        self.facts: dict[str, Any] = known or _empty(seed)

    @property
    def next(self) -> int:
        """The first run that was not done yet."""
        number: int = self.facts["next"]
        return number

    @property
    def runs(self) -> int:
        """Kills whose outcome is known."""
        count: int = self.facts["runs"]
        return count

    def count(self, chunk: Chunk, result: dict[str, Any], under_way: list[int]) -> None:
        """One run is over; ``under_way`` are done again when no more is heard of them."""
        facts = self.facts
        self._count(chunk, result)
        facts["runs_without_ledger"] += 1
        left = [number for number in facts["under_way"] if number in chunk.again]
        again = {number for number in left if number != result["number"]}
        facts["under_way"] = sorted(again.union(under_way))
        facts["next"] = max(facts["next"], result["number"] + 1, *(n + 1 for n in under_way))

    def end(self, chunk: Chunk, runs: int, databases: dict[str, Any], took_s: float) -> None:
        """All runs of a chunk are counted, and its databases were read."""
        facts = self.facts
        facts["runs_without_ledger"] -= runs
        for name, count in databases.items():
            facts["databases"][name] = facts["databases"].get(name, 0) + count
        facts["chunks"].append(
            {
                "first": chunk.first,
                "runs": runs,
                "slots": chunk.slots,
                "transit": chunk.transit,
                "took_s": round(took_s, 1),
            }
        )

    def _count(self, chunk: Chunk, result: dict[str, Any]) -> None:
        facts = self.facts
        if "fault" in result:
            facts["harness_faults"] += 1
            facts["never_resolved"] += not result.get("is_resolved", True)
            self._finding(result)
            return
        verdict, refresh_class = _worst(result), result["refresh_class"]
        lost = verdict in (*_LOSSES, _IN_WINDOW)
        missed = bool(result["grace_missed"])
        outside = verdict in _LOSSES or (lost and refresh_class != "S" and not missed)
        facts["transit_runs"] += chunk.transit
        facts["by_replicas"][str(result["replicas"])] += 1
        facts["killed_twice"] += bool(result["again_at"])
        for group in (facts, facts["by_group"][result["group"]]):
            group["runs"] += 1
            group["loss"][refresh_class] += lost
            group["loss_outside_window"] += outside
        cells = [facts["by_kind"].setdefault(result["provider"], Counter(runs=0, lost=0))]
        if result["group"] in ("plain", RANDOM):
            cell = facts["by_point_and_class"][result["point"]][refresh_class]
            for name, count in _counted(result, verdict, lost).items():
                cell[name] += count
            cells.append(facts["by_moment"][result["moment"]])
        if result["ending"]:
            cells.append(facts["by_ending"][result["ending"]])
        if refresh_class == "G":
            cells.append(facts["grace"]["missed" if missed else "kept"])
        for counted in cells:
            counted["runs"] += 1
            counted["lost"] += lost
        self._count_ends(result, outside)

    def _count_ends(self, result: dict[str, Any], outside: bool) -> None:
        facts, resolved_s = self.facts, result["resolved_s"]
        facts["never_resolved"] += not result["is_resolved"]
        facts["double_posts"] += result["double_posts"]
        facts["not_usable_afterwards"] += not result["used_again"]
        facts["spool_entries_left"] += result["spool_left"]
        if result["is_resolved"]:
            known, shipped_s = facts["resolved_s"], resolved_s / scaling.factor()
            of_group = known.setdefault(result["group"], {})
            known[result["group"]] = _spread(of_group, shipped_s, _RESOLVED_S)
        if result["moment"] in _UNHINDERED and result["window_ms"]:
            spread = _spread(facts["answer_to_durable_ms"], result["window_ms"], _WINDOW_MS)
            facts["answer_to_durable_ms"] = spread
        left = result["double_posts"] + result["spool_left"]
        sound = result["is_resolved"] and result["used_again"] and not left
        if outside or not sound:
            self._finding(result)

    def _finding(self, result: dict[str, Any]) -> None:
        if len(self.facts["findings"]) < _FINDINGS_MAX:
            self.facts["findings"].append(result)


def read(file: Path, seed: int) -> Tally:
    """What the file has, or a campaign that begins. ValueError: it is of another one."""
    known = json.loads(file.read_text()) if file.exists() else None
    if known is not None:
        for name, wanted in _identity(seed).items():
            if known.get(name) != wanted:
                raise ValueError(f"{file} is of {name} {known.get(name)}, and this is {wanted}")
    return Tally(seed, known)


def write(tally: Tally, file: Path) -> None:
    """Whole or not at all."""
    partial = file.with_suffix(".new")
    partial.write_text(json.dumps(tally.facts, indent=1) + "\n")
    partial.rename(file)


def _identity(seed: int) -> dict[str, Any]:
    return {"source": SOURCE, "scale": scaling.factor(), "seed": seed}


def _empty(seed: int) -> dict[str, Any]:
    post_limit_s = scaling.shipped("POST_LIMIT_S")
    return {
        "method": METHOD,
        "machine": machine(),
        "python": platform.python_version(),
        **_identity(seed),
        "shipped": {
            "lease_s": post_limit_s + scaling.shipped("LEASE_MARGIN_S"),
            "grace_s": list(GRACES_S),
            "post_limit_s": post_limit_s,
        },
        "next": 0,
        "under_way": [],
        "runs_without_ledger": 0,
        **_losses(),
        "not_built": _LATER,
        "never_resolved": 0,
        "double_posts": 0,
        "not_usable_afterwards": 0,
        "spool_entries_left": 0,
        "killed_twice": 0,
        "transit_runs": 0,
        "harness_faults": 0,
        "grace": {"kept": {"runs": 0, "lost": 0}, "missed": {"runs": 0, "lost": 0}},
        "by_group": {name: _losses() for name in GROUPS},
        "by_replicas": {"1": 0, "3": 0},
        "by_kind": {},
        "by_ending": {ending.value: {"runs": 0, "lost": 0} for ending in ENDINGS},
        "by_point_and_class": {
            point: {name: _counted(None, "", False) for name in CLASSES}
            for point in (*POINTS, RANDOM)
        },
        "by_moment": {
            name: {"runs": 0, "lost": 0} for name in (*(m.name for m in MOMENTS), RANDOM)
        },
        "resolved_s": {},
        "answer_to_durable_ms": {},
        "databases": {},
        "chunks": [],
        "findings": [],
    }


def _losses() -> dict[str, Any]:
    return {"runs": 0, "loss": dict.fromkeys(CLASSES, 0), "loss_outside_window": 0}


def _counted(result: dict[str, Any] | None, verdict: str, lost: bool) -> dict[str, int]:
    in_window = verdict == _IN_WINDOW
    return {
        "runs": int(result is not None),
        "lost_in_window": int(in_window),
        "lost_outside": int(lost and not in_window),
        "gave_up": int(bool(result and result["gave_up"])),
        "refreshed": int(bool(result and result["generation"] > 1)),
    }


def _worst(result: dict[str, Any]) -> str:
    """Before and after the further use."""
    both = (result["verdict"], result["verdict_after_use"])
    return next((v for v in (*_LOSSES, _IN_WINDOW) if v in both), Verdict.OK.value)


def _spread(known: dict[str, int], value: float, bounds: tuple[float, ...]) -> dict[str, int]:
    """How many values lie within each of the bounds and beyond the one before it."""
    name = next((f"<= {bound:g}" for bound in bounds if value <= bound), "more")
    counted = {**known, name: known.get(name, 0) + 1}
    order = [*(f"<= {bound:g}" for bound in bounds), "more"]
    return {name: counted[name] for name in order if name in counted}
