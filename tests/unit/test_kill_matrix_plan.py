"""The campaign of kills: what it has planned, and what it concludes from a dead process."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.campaigns.kill_matrix.life import COMMITTED, POSTED, SPOOLED, Life
from tests.campaigns.kill_matrix.moments import CLASSES, MOMENTS, POINTS, PROVIDERS
from tests.campaigns.kill_matrix.plan import RANDOM, ROUND, case, cases_of_round

SEED = 7


def test_a_round_has_each_cell() -> None:
    """Each point, class and number of replicas once, whatever the round; beside them random moments
    and destroyed spools."""
    for number in range(3):
        cases = cases_of_round(number, SEED)
        cells = Counter(
            (each.point, each.refresh_class, each.replicas)
            for each in cases
            if each.moment != RANDOM and not each.spool_destroyed
        )
        expected = {
            (point, name, count) for point in POINTS for name in CLASSES for count in (1, 3)
        }
        assert cells == Counter(expected)
        assert len(cases) == ROUND
        assert sum(each.moment == RANDOM for each in cases) == 16


def test_a_run_is_always_the_same() -> None:
    """Run n of a seed is one run, in whichever chunk it is done; another seed has others."""
    assert tuple(case(number, SEED) for number in range(ROUND)) == cases_of_round(0, SEED)
    assert case(ROUND + 5, SEED).number == ROUND + 5
    assert case(ROUND + 5, SEED) != case(ROUND + 5, SEED + 1)


def test_the_rounds_come_to_every_moment_of_every_provider() -> None:
    """Over the rounds of a campaign each moment meets each kind of provider."""
    cases = [each for number in range(30) for each in cases_of_round(number, SEED)]
    met = {(each.moment, each.provider) for each in cases if not each.spool_destroyed}
    assert met >= {(m.name, p.name) for m in MOMENTS for p in PROVIDERS}


@pytest.mark.parametrize(
    ("marks", "with_spool", "in_danger"),
    [
        ([], True, None),
        ([POSTED], True, True),
        ([POSTED, SPOOLED], True, False),
        ([POSTED, SPOOLED], False, True),
        ([POSTED, COMMITTED], False, False),
        ([POSTED, SPOOLED, POSTED], True, True),
    ],
)
def test_what_was_durable(marks: list[str], with_spool: bool, in_danger: bool | None) -> None:
    """A process died in danger where it sent a request and nothing acknowledged the answer since;
    a spool that was destroyed is none."""
    life = Life()
    for mark in marks:
        life.mark(mark)
    assert life.left_in_danger(with_spool=with_spool) is in_danger
    life.begin()
    assert life.left_in_danger(with_spool=with_spool) is None
