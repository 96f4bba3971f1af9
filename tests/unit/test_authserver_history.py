"""The checker of what the callers of one grant were given."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.authserver import Observation, check_history


def seen(start_s: float, end_s: float, generation: int, **changes: Any) -> Observation:
    """An answer; its token lives long."""
    facts = {"caller": "a", "expire_s": 1_000.0, "fingerprint": f"at-{generation}", **changes}
    return Observation(start_s=start_s, end_s=end_s, generation=generation, **facts)


_GOOD = {
    "one after another": [seen(0, 1, 1), seen(2, 3, 1), seen(4, 5, 2), seen(6, 7, 3)],
    "overlapping calls may see either": [seen(0, 10, 2), seen(1, 9, 1), seen(2, 3, 1)],
    "a call that begins at the end of another": [seen(0, 1, 2), seen(1, 2, 1)],
    "the first generation seen is any": [seen(0, 1, 7), seen(2, 3, 8)],
    "life left for what was asked": [seen(0, 1, 1, expire_s=60, min_ttl_s=60)],
    "none": [],
}


@pytest.mark.parametrize("observations", _GOOD.values(), ids=_GOOD.keys())
def test_good_history(observations: list[Observation]) -> None:
    """What some order of the calls explains is no violation, however the list is ordered."""
    assert check_history(observations) == []
    assert check_history(reversed(observations)) == []


_BAD = {
    "older after newer": (
        [seen(0, 1, 1), seen(2, 3, 2), seen(4, 5, 1, caller="b")],
        "older_after_newer",
    ),
    "older after newer, with one call over both": (
        [seen(0, 100, 1), seen(2, 3, 2), seen(4, 5, 1)],
        "older_after_newer",
    ),
    "expired": ([seen(50, 51, 1, expire_s=50)], "expired"),
    "less life than was asked": ([seen(50, 51, 1, expire_s=109, min_ttl_s=60)], "expired"),
    "two refreshes made one step": (
        [seen(0, 1, 2), seen(0, 1, 2, fingerprint="another")],
        "two_tokens_of_one_generation",
    ),
    "a step of two": ([seen(0, 1, 1), seen(2, 3, 3)], "gap"),
}


@pytest.mark.parametrize(("observations", "rule"), _BAD.values(), ids=_BAD.keys())
def test_bad_history(observations: list[Observation], rule: str) -> None:
    """Each rule is broken once, and that is what is said."""
    assert [violation.rule for violation in check_history(observations)] == [rule]


def test_violation_names_its_witnesses() -> None:
    """Of an older token after a newer one, both answers are shown."""
    newer, older = seen(0, 1, 2), seen(2, 3, 1)
    (violation,) = check_history([newer, seen(0, 1, 1), older])
    assert violation.observations == (newer, older)


def test_unseen_generations_may_be_allowed() -> None:
    """Where refreshes happen without callers, a gap is none."""
    assert check_history([seen(0, 1, 1), seen(2, 3, 3)], every_generation_seen=False) == []
