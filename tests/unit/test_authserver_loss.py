"""The checker of losses: every verdict where it holds, and beside it where it does not."""

from __future__ import annotations

import pytest

from tests.support.authserver import (
    Answer,
    Fault,
    Finding,
    Held,
    Killed,
    RefreshClass,
    Verdict,
)
from tests.support.authserver.story import Story


def verdict(finding: Finding) -> tuple[Verdict, tuple[int, ...]]:
    """What was decided, without the words."""
    assert finding.why
    return finding.verdict, finding.double_posts


@pytest.mark.parametrize("refresh_class", RefreshClass)
def test_newest_token_is_ok(refresh_class: RefreshClass) -> None:
    """Two refreshes, each stored: OK in every class."""
    story = Story(refresh_class, grace_s=30)
    story.post(1)
    story.post(1 if refresh_class is RefreshClass.N else 2)
    assert verdict(story.judge(3, generation=3)) == (Verdict.OK, ())


def test_old_token_of_s_is_lost() -> None:
    """Class S, the successor delivered and the old one held: LOST."""
    story = Story()
    story.post(1)
    assert verdict(story.judge(1)) == (Verdict.LOST, ())


def test_old_token_is_ok_where_it_works() -> None:
    """The same with class M and inside the grace of G: OK; after the grace LOST."""
    many = Story(RefreshClass.M)
    many.post(1)
    assert many.judge(1).verdict is Verdict.OK
    graced = Story(RefreshClass.G, grace_s=30)
    graced.post(1)
    assert graced.judge(1).verdict is Verdict.OK
    graced.operations.advance(30)
    assert graced.judge(1).verdict is Verdict.LOST


def test_undelivered_successor_is_the_window_in_s_only() -> None:
    """A successor that was committed and never delivered: LOST_IN_WINDOW in S, LOST in G."""
    strict = Story()
    strict.post(1, delivered=False)
    assert verdict(strict.judge(1)) == (Verdict.LOST_IN_WINDOW, ())
    graced = Story(RefreshClass.G, grace_s=30)
    graced.post(1, delivered=False)
    graced.operations.advance(30)
    assert graced.judge(1).verdict is Verdict.LOST


def test_unreadable_successor_is_the_window() -> None:
    """A 502 of a gateway in place of the committed answer delivers no successor."""
    story = Story()
    story.post(1, Fault(answer=Answer.html(502), commits=True))
    assert story.judge(1).verdict is Verdict.LOST_IN_WINDOW


def test_death_before_durable_is_the_window() -> None:
    """A delivered successor is the window only when the vault died with it, and LOST else."""
    story = Story()
    story.post(1)
    assert story.judge(1, killed_before_durable=True).verdict is Verdict.LOST_IN_WINDOW
    assert story.judge(1, killed_before_durable=False).verdict is Verdict.LOST


def test_window_is_about_the_newest_generation() -> None:
    """A generation that was delivered before excuses nothing, and takes no excuse away."""
    story = Story()
    story.post(1)
    story.post(2, delivered=False)
    assert verdict(story.judge(2)) == (Verdict.LOST_IN_WINDOW, ())


def test_window_is_not_the_generation_before() -> None:
    """A successor once undelivered excuses nothing when a later one came and was lost."""
    story = Story(same_pair_window_s=60)
    story.post(1, delivered=False)
    story.post(1)  # the same pair once more, delivered
    assert story.judge(1, declared_retries=1).verdict is Verdict.OK, "the window is open"
    story.operations.advance(60)
    assert story.judge(1, declared_retries=1).verdict is Verdict.LOST


def test_giving_up_after_a_loss_in_the_window() -> None:
    """REAUTHORIZATION_REQUIRED is as good as the loss behind it: the window, or LOST."""
    window = Story()
    window.post(1, delivered=False)
    assert window.judge(1, gave_up=True).verdict is Verdict.LOST_IN_WINDOW
    lost = Story()
    lost.post(1)
    assert lost.judge(0, gave_up=True).verdict is Verdict.LOST
    died = lost.judge(1, gave_up=True, killed_before_durable=True)
    assert died.verdict is Verdict.LOST_IN_WINDOW, "what died with the vault it could not use"


@pytest.mark.parametrize("known", [True, False])
def test_giving_up_a_working_grant_is_lost(known: bool) -> None:
    """The vault gave up although a token it had works, whether it still shows the token or not."""
    story = Story()
    story.post(1, Fault(answer=Answer.json({"error": "invalid_grant"}, 400)))
    finding = story.judge(1 if known else 0, gave_up=True, cause="REVOKED_BY_OWNER")
    assert finding.verdict is Verdict.LOST
    assert "REVOKED_BY_OWNER" in finding.why


@pytest.mark.parametrize("by", [Killed.OWNER, Killed.CLIENT])
def test_end_by_owner_or_client_is_no_loss(by: Killed) -> None:
    """What the owner or we ended at the provider is OK, noticed or not."""
    story = Story()
    story.operations.kill(story.first.family, by)
    assert story.judge(1).verdict is Verdict.OK
    assert story.judge(1, gave_up=True).verdict is Verdict.OK


def test_reuse_kills() -> None:
    """A dead token presented to a killing server: KILLED_FAMILY, and a double POST."""
    story = Story(family_kill_on_reuse=True)
    story.post(1)
    again = story.post(1)
    assert verdict(story.judge(2)) == (Verdict.KILLED_FAMILY, (again,))


def test_declared_retry_that_kills_is_the_window() -> None:
    """The one fenced retry after an undelivered answer kills what was lost already; without the
    declaration it is the vault's fault."""
    story = Story(family_kill_on_reuse=True)
    story.post(1, delivered=False)
    again = story.post(1)
    declared = story.judge(1, gave_up=True, declared_retries=1)
    assert verdict(declared) == (Verdict.LOST_IN_WINDOW, ())
    assert verdict(story.judge(1, gave_up=True)) == (Verdict.KILLED_FAMILY, (again,))


def test_no_double_post_after_a_clear_answer() -> None:
    """After 400, 429 and 503 with Retry-After the same token may be presented again."""
    story = Story()
    for status, headers in ((400, {}), (429, {}), (503, {"Retry_After": "1"})):
        story.post(1, Fault(answer=Answer.json({"error": "wait"}, status, **headers)))
    story.post(1)
    assert verdict(story.judge(2)) == (Verdict.OK, ())


@pytest.mark.parametrize("refresh_class", RefreshClass)
def test_double_post_after_doubt(refresh_class: RefreshClass) -> None:
    """A blind retry after no answer or a plain 5xx is a double POST; a declared one is none."""
    story = Story(refresh_class, grace_s=30)
    story.post(1, Fault(answer=Answer.html(500)))
    second = story.post(1, Fault(answer=Answer.json({}, 400)), delivered=False)
    third = story.post(1)
    assert verdict(story.judge(2)) == (Verdict.DOUBLE_POST, (second, third))
    assert verdict(story.judge(2, declared_retries=1)) == (Verdict.DOUBLE_POST, (third,))
    assert verdict(story.judge(2, declared_retries=2)) == (Verdict.OK, ())


def test_class_n_goes_on_after_a_declared_retry() -> None:
    """Class N: the refreshes after a declared retry are refreshes like any other."""
    story = Story(RefreshClass.N)
    story.post(1, delivered=False)
    story.post(1)
    story.post(1)
    assert verdict(story.judge(1, generation=3, declared_retries=1)) == (Verdict.OK, ())


@pytest.mark.parametrize("refresh_class", RefreshClass)
def test_double_post_at_once(refresh_class: RefreshClass) -> None:
    """Two under way together are a double POST, whatever they were answered."""
    story = Story(refresh_class, grace_s=30)
    first, second = story.arrive(1), story.arrive(1)
    for exchange in (first, second):
        story.commit(exchange)
        story.end(exchange)
    assert second.entry is not None
    newest = 2 if refresh_class is RefreshClass.S else 3
    assert story.judge(newest).double_posts == (second.entry.sequence,)
    assert story.judge(newest).verdict is Verdict.DOUBLE_POST


def test_double_post_after_a_successor() -> None:
    """A token presented again after its successor was delivered, where both work: DOUBLE_POST."""
    story = Story(RefreshClass.M)
    story.post(1)
    again = story.post(1)
    assert verdict(story.judge(3)) == (Verdict.DOUBLE_POST, (again,))


def test_double_post_of_n_shows_in_the_vaults_count() -> None:
    """Class N: a refresh of which the vault stored nothing is a double POST unless declared."""
    story = Story(RefreshClass.N)
    story.post(1)
    second = story.post(1)
    assert verdict(story.judge(1, generation=3)) == (Verdict.OK, ())
    assert verdict(story.judge(1, generation=2)) == (Verdict.DOUBLE_POST, (second,))
    assert verdict(story.judge(1, generation=2, declared_retries=1)) == (Verdict.OK, ())


def test_each_family_is_judged_by_its_own_posts() -> None:
    """Another family's loss is not ours."""
    story = Story()
    (other,) = story.operations.new_families(1, "", "", "", None)
    story.post(1, delivered=False)
    held = [
        Held(family=other.family, refresh_token=other.refresh_token),
        Held(family=story.first.family, refresh_token=story.first.refresh_token),
    ]
    findings = story.operations.judge(held)
    assert [each.verdict for each in findings] == [Verdict.OK, Verdict.LOST_IN_WINDOW]
