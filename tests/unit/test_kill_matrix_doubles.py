"""Which presentations the campaign of kills counts as one too many."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from tests.campaigns.kill_matrix.doubles import double_posts
from tests.campaigns.kill_matrix.plan import WARM_UP
from tests.campaigns.kill_matrix.successor import Before
from tests.support.authserver import Done, Entry

_KILLED_S = 10.0


def _entry(sequence: int, at_s: float, presented: int = 1, **changes: object) -> Entry:
    facts: dict[str, Any] = {
        "done": Done.ISSUED,
        "status": 200,
        "ended_s": at_s + 0.5,
        "arrived_s": at_s,
        **changes,
    }
    return Entry(
        sequence=sequence,
        connection=1,
        path="/token",
        realm="s",
        kind="refresh_token",
        client_id="c",
        fields={},
        authorization="",
        presented=presented,
        **facts,
    )


def _before(provider: str, replicas: int = 1, *, kept: bool = True) -> Before:
    case = replace(WARM_UP, provider=provider, replicas=replicas)
    return Before(case, uuid.UUID(int=1), "f", _KILLED_S, False, kept=kept)


@pytest.mark.parametrize(
    ("provider", "replicas", "kept", "found"),
    [
        ("s", 1, True, {2}),
        ("s", 3, True, {2}),
        ("g-30", 1, True, {2}),
        (
            "g-30",
            3,
            True,
            set(),
        ),  # a sibling knows nothing of that disk, and may ask inside a grace
        ("n", 1, True, set()),
        ("m", 1, True, set()),
        ("s", 1, False, set()),  # it was lost with the process: the one retry is recovery's
    ],
)
def test_presented_again_after_an_answer_that_was_kept(
    provider: str, replicas: int, kept: bool, found: set[int]
) -> None:
    """Where the token may be dead, or the process that asks has the answer, it is one too many."""
    entries = [_entry(1, 9.0), _entry(2, 36.0)]
    assert double_posts(entries, _before(provider, replicas, kept=kept)) == found


@pytest.mark.parametrize("provider", ["n", "m", "g-30", "s"])
def test_two_at_once(provider: str) -> None:
    """While one is under way no other may be, whatever the class."""
    overlapping = [_entry(1, 9.0, ended_s=20.0), _entry(2, 19.0)]
    assert double_posts(overlapping, _before(provider, kept=False)) == {2}
    endless = [_entry(1, 9.0, ended_s=None), _entry(2, 90.0)]
    assert double_posts(endless, _before(provider, kept=False)) == {2}


def test_the_next_generation_is_another_token() -> None:
    """What follows with the successor is none, and neither is one after a refusal or a 503."""
    entries = [_entry(1, 9.0), _entry(2, 36.0, presented=2)]
    assert double_posts(entries, _before("s")) == set()
    away = [_entry(1, 9.0, done=Done.SCRIPTED, status=503), _entry(2, 36.0)]
    assert double_posts(away, _before("s")) == set()
