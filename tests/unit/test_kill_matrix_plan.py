"""The campaign of kills: what it has planned, and what it concludes from a dead process."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.campaigns.kill_matrix.life import COMMITTED, POSTED, SPOOLED, Life
from tests.campaigns.kill_matrix.moments import CLASSES, ENDINGS, MOMENTS, POINTS, PROVIDERS
from tests.campaigns.kill_matrix.plan import RANDOM, ROUND, case, cases_of_round
from tests.support.authserver import Ending

SEED = 7


def test_a_round_has_each_cell() -> None:
    """Each point, class and number of replicas once, whatever the round, and each point and class
    once more with an odd answer; beside them random moments, outages, spools that are destroyed and
    spools that come back late."""
    for number in range(3):
        cases = cases_of_round(number, SEED)
        cells = Counter(
            (each.point, each.refresh_class, each.replicas)
            for each in cases
            if each.group == "plain"
        )
        expected = {
            (point, name, count) for point in POINTS for name in CLASSES for count in (1, 3)
        }
        assert cells == Counter(expected)
        assert len(cases) == ROUND
        odd = Counter((each.point, each.refresh_class) for each in cases if each.ending)
        assert odd == Counter((point, name) for point in POINTS for name in CLASSES)
        groups = Counter(each.group for each in cases)
        assert (groups[RANDOM], groups["destroyed"], groups["outage"]) == (16, 8, 12)
        away = [each for each in cases if each.group == "away"]
        assert {each.grace_s for each in away} == {0, 4, 5, 10, 30, 60}
        assert all(each.restart_s > each.outage_s >= 1.3 * each.grace_s for each in away)


def test_a_run_is_always_the_same() -> None:
    """Run n of a seed is one run, in whichever chunk it is done; another seed has others."""
    assert tuple(case(number, SEED) for number in range(ROUND)) == cases_of_round(0, SEED)
    assert case(ROUND + 5, SEED).number == ROUND + 5
    assert case(ROUND + 5, SEED) != case(ROUND + 5, SEED + 1)


def test_the_rounds_come_to_every_moment_of_every_provider() -> None:
    """Over the rounds of a campaign each moment meets each kind of provider, and each odd ending
    each point and class."""
    cases = [each for number in range(50) for each in cases_of_round(number, SEED)]
    met = {(each.moment, each.provider) for each in cases if not each.spool_destroyed}
    assert met >= {(m.name, p.name) for m in MOMENTS for p in PROVIDERS}
    ended = {(each.ending, each.point, each.refresh_class) for each in cases if each.ending}
    assert ended == {
        (e.value, point, name) for e in ENDINGS for point in POINTS for name in CLASSES
    }


def test_an_outage_is_as_long_as_asked() -> None:
    """10 s to 4 min as they ship, from the kill on or before the request; nothing is odd beside."""
    cases = [each for number in range(20) for each in cases_of_round(number, SEED)]
    outages = [each for each in cases if each.group == "outage"]
    assert {each.outage for each in outages} == {"kill", "before", "carried"}
    assert all(10 <= each.outage_s <= 240 for each in outages)
    assert min(each.outage_s for each in outages) < 15
    assert max(each.outage_s for each in outages) > 200
    assert not any(each.outage for each in cases if each.ending)


def test_what_nobody_reads_is_written_to_the_spool_first() -> None:
    """An answer that cannot be read never comes to the database before the disk has it: no run
    waits for that."""
    cases = [each for number in range(50) for each in cases_of_round(number, SEED)]
    unread = {each.moment for each in cases if each.ending == Ending.WRAPPED.value}
    assert "k9.open" in unread
    assert not [name for name in unread if "alone" in name]


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
