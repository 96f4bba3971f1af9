"""What a campaign has come to: counts by point, class and replicas, and each run that is a finding.

The file is the campaign's memory too: ``next`` is the run to go on with. A chunk that was
interrupted counts for nothing and is done again.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from pathlib import Path
from typing import Any, Final

import vault_service
from tests.campaigns.kill_matrix.campaign import Chunk
from tests.campaigns.kill_matrix.moments import CLASSES, MOMENTS, POINTS
from tests.campaigns.kill_matrix.place import machine
from tests.campaigns.kill_matrix.plan import RANDOM
from tests.support.authserver import Verdict

METHOD: Final = " ".join(
    """
    One run: a forked process with the whole refresh engine (no gRPC) refreshes a grant of its
    own at a real PostgreSQL (a database for each slot, copied from a template; fsync off, which
    matters to power cuts only), on a real spool with its syncs, over TLS to the scripted
    authorization server, and dies by SIGKILL to itself at one moment of it, or by a timer at a
    random one. Lease 1.5 s (POST 0.5 s + margin 1.0 s). The next process of the slot has the
    victim's spool (or none, counted apart) and sweeps every 0.15 s from the end of the lease
    on, alone or beside two live replicas with spools of their own, one of which has callers. It
    has 5 s from the end of the lease on to resolve the attempt; then the authorization server
    judges from its ledger, the grant is refreshed once more, and judged again. Class S kills
    the family on reuse; a third of its runs each can introspect, can probe, can only retry. A
    refusal is confirmed at once (confirm_after_s 0, written to the table; 60 s in life), and
    class S waits 0.3 s for a spool that was destroyed. DEKs were unwrapped by OpenBao at the
    preparation; in transit_runs each process does so itself. A process recovers the run before
    it and is the next victim. What was durable at a kill is told by acknowledged syncs and
    commits in shared memory. by_point_and_class of a point counts its moments evenly, so a loss
    there is a share of deaths at that point, not of refreshes.
    """.split()
)
_LOSSES = (Verdict.LOST.value, Verdict.KILLED_FAMILY.value)
_IN_WINDOW = Verdict.LOST_IN_WINDOW.value
_FINDINGS_MAX = 50
_RESOLVED_S = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.5, 10.0, 20.0)
_WINDOW_MS = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0)
# Deaths behind the window, to which nothing was held back.
_UNHINDERED = frozenset({m.name for m in MOMENTS if m.point in ("K11", "K12") and not m.waits_for})


def _source_digest() -> str:
    """Of the service's source: which engine a chunk was about."""
    package = Path(vault_service.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(str(file.relative_to(package)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


_SOURCE: Final = _source_digest()  # as it was when this process took it in


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
        """Kills whose outcome is known, on spools that stayed and on spools that did not."""
        count: int = self.facts["runs"] + self.facts["spool_destroyed"]["runs"]
        return count

    def add(
        self, chunk: Chunk, results: list[dict[str, Any]], databases: dict[str, Any], took_s: float
    ) -> None:
        """All of one chunk."""
        for result in results:
            self._count(chunk, result)
        facts = self.facts
        facts["next"] = max(facts["next"], chunk.first + len(results))
        for name, count in databases.items():
            facts["databases"][name] = facts["databases"].get(name, 0) + count
        facts["chunks"].append(
            {
                "first": chunk.first,
                "runs": len(results),
                "slots": chunk.slots,
                "transit": chunk.transit,
                "source": _SOURCE,
                "took_s": round(took_s, 1),
            }
        )

    def _count(self, chunk: Chunk, result: dict[str, Any]) -> None:
        facts = self.facts
        if "fault" in result:
            facts["harness_faults"] += 1
            self._finding(result)
            return
        destroyed = result["spool_destroyed"]
        group = facts["spool_destroyed"] if destroyed else facts
        group["runs"] += 1
        facts["transit_runs"] += chunk.transit
        facts["by_replicas"][str(result["replicas"])] += 1
        facts["killed_twice"] += bool(result["again_at_s"])
        verdict, refresh_class = _worst(result), result["refresh_class"]
        lost = verdict in (*_LOSSES, _IN_WINDOW)
        cell = group["by_point_and_class"][result["point"]][refresh_class]
        for name, count in _counted(result, verdict, lost).items():
            cell[name] += count
        group["loss"][refresh_class] += lost
        outside = verdict in _LOSSES or (lost and refresh_class != "S")
        group["loss_outside_window"] += outside
        if not destroyed:
            by_moment = facts["by_moment"][result["moment"]]
            by_moment["runs"] += 1
            by_moment["lost"] += lost
            kind = facts["s_by_provider"].setdefault(result["provider"], Counter(runs=0, lost=0))
            kind["runs"] += 1
            kind["lost"] += lost
        facts["unresolved"] += not result["is_resolved"]
        facts["never_resolved"] += result["resolved_s"] >= 20.0
        facts["double_posts"] += result["double_posts"]
        facts["not_usable_afterwards"] += not result["used_again"]
        facts["spool_entries_left"] += result["spool_left"]
        facts["resolved_s"] = _spread(facts["resolved_s"], result["resolved_s"], _RESOLVED_S)
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
    """What the file has, or a campaign that begins."""
    known = json.loads(file.read_text()) if file.exists() else None
    if known is not None and known["seed"] != seed:
        raise ValueError(f"{file} is of seed {known['seed']}")
    return Tally(seed, known)


def write(tally: Tally, file: Path) -> None:
    """Whole or not at all."""
    partial = file.with_suffix(".new")
    partial.write_text(json.dumps(tally.facts, indent=1) + "\n")
    partial.rename(file)


def _empty(seed: int) -> dict[str, Any]:
    def group() -> dict[str, Any]:
        return {
            "runs": 0,
            "loss": dict.fromkeys(CLASSES, 0),
            "loss_outside_window": 0,
            "by_point_and_class": {
                point: {name: _counted(None, "", False) for name in CLASSES}
                for point in (*POINTS, RANDOM)
            },
        }

    return {
        "method": METHOD,
        "machine": machine(),
        "python": platform.python_version(),
        "seed": seed,
        "next": 0,
        **group(),
        "unresolved": 0,
        "never_resolved": 0,
        "double_posts": 0,
        "not_usable_afterwards": 0,
        "spool_entries_left": 0,
        "killed_twice": 0,
        "transit_runs": 0,
        "harness_faults": 0,
        "by_replicas": {"1": 0, "3": 0},
        "resolved_s": {},
        "answer_to_durable_ms": {},
        "s_by_provider": {},
        "by_moment": {
            name: {"runs": 0, "lost": 0} for name in (*(m.name for m in MOMENTS), RANDOM)
        },
        "spool_destroyed": group(),
        "databases": {},
        "chunks": [],
        "findings": [],
    }


def _counted(result: dict[str, Any] | None, verdict: str, lost: bool) -> dict[str, int]:
    in_window = verdict == _IN_WINDOW
    return {
        "runs": int(result is not None),
        "lost_in_window": int(in_window),
        "lost_outside": int(lost and not in_window),
        "gave_up": int(bool(result and result["gave_up"])),
        "refreshed": int(bool(result and result["generation"] > 1)),
        "unresolved": int(bool(result and not result["is_resolved"])),
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
