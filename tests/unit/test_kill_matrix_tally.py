"""The memory of a campaign: nothing is counted twice or left out when it is interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.kill_matrix import tally
from tests.campaigns.kill_matrix.campaign import Chunk, stuck

_SEED = 1


def _ended(number: int) -> dict[str, Any]:
    return {"number": number, "fault": "told by a test"}


def test_runs_under_way_at_an_interruption_are_done_again(tmp_path: Path) -> None:
    """What was begun and not ended is listed, first in the next chunk, and listed no more when it
    has ended."""
    file = tmp_path / "result.json"
    known = tally.read(file, _SEED)
    first = Chunk(0, 10, 60.0, _SEED)
    known.count(first, _ended(1), [0, 2, 3])
    known.count(first, _ended(3), [0, 2, 4])
    tally.write(known, file)

    known = tally.read(file, _SEED)
    assert (known.next, known.facts["under_way"]) == (5, [0, 2, 4])
    second = Chunk(known.next, 8, 60.0, _SEED, again=tuple(known.facts["under_way"]))
    known.count(second, _ended(2), [0, 4])
    known.count(second, _ended(5), [0, 4, 6])
    assert known.facts["under_way"] == [0, 4, 6]
    known.count(second, _ended(0), [4, 6])
    known.count(second, _ended(4), [6])
    assert (known.next, known.facts["under_way"]) == (7, [6])


def test_an_interruption_before_the_first_of_those_again_loses_none(tmp_path: Path) -> None:
    """Those that wait for their second try stay listed while others end."""
    known = tally.read(tmp_path / "result.json", _SEED)
    known.facts.update(next=9, under_way=[3, 5, 7])
    chunk = Chunk(9, 20, 60.0, _SEED, again=(3, 5, 7))
    known.count(chunk, _ended(3), [5])
    assert known.facts["under_way"] == [5, 7]


def test_an_interrupted_chunk_shows(tmp_path: Path) -> None:
    """Runs whose databases were never read stay counted as such, also when a later chunk ends well
    and reads those of its own."""
    file = tmp_path / "result.json"
    known = tally.read(file, _SEED)
    first = Chunk(0, 10, 60.0, _SEED)
    for number in range(3):
        known.count(first, _ended(number), [])
    tally.write(known, file)

    known = tally.read(file, _SEED)
    assert known.facts["runs_without_ledger"] == 3
    second = Chunk(known.next, 2, 60.0, _SEED)
    for number in (3, 4):
        known.count(second, _ended(number), [])
    assert known.facts["runs_without_ledger"] == 5
    known.end(second, 2, {"grants": 2}, 1.0)
    assert known.facts["runs_without_ledger"] == 3


def test_a_stuck_run_was_never_resolved(tmp_path: Path) -> None:
    """A slot that is given up is an unresolved refresh; another fault of the harness is not."""
    known = tally.read(tmp_path / "result.json", _SEED)
    chunk = Chunk(0, 10, 60.0, _SEED)
    known.count(chunk, _ended(0), [])
    assert (known.facts["harness_faults"], known.facts["never_resolved"]) == (1, 0)
    known.count(chunk, stuck(1), [])
    assert (known.facts["harness_faults"], known.facts["never_resolved"]) == (2, 1)
    assert [found["number"] for found in known.facts["findings"]] == [0, 1]


def test_a_file_of_another_campaign_is_refused(tmp_path: Path) -> None:
    """Runs of two seeds are not one campaign."""
    file = tmp_path / "result.json"
    tally.write(tally.read(file, _SEED), file)
    with pytest.raises(ValueError, match="seed"):
        tally.read(file, _SEED + 1)
