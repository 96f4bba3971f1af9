"""The checker of losses against vaults that do right, and against vaults that do anything."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.authserver import Answer, Fault, Killed, RefreshClass, Verdict, token_parts
from tests.support.authserver.story import Story

_GRACE_S = 30
_FAULTS = {
    "good": None,
    "slow down": Fault(answer=Answer.json({"error": "slow_down"}, 429, Retry_After="1")),
    "500": Fault(answer=Answer.html(500)),
    "502 after the commit": Fault(answer=Answer.html(502), commits=True),
}
_EVENTS = [*_FAULTS, "cut before the commit", "cut after the commit"]


@dataclass
class RightVault:
    """One that stores what it gets, and after a doubt retries as its class allows, on record."""

    story: Story
    holds: int = 1  # generation of its refresh token
    generation: int = 1
    retries: int = 0
    in_doubt: bool = False
    lost_answer: bool = False
    gave_up: bool = False

    def refresh(self, events: list[str]) -> None:
        """A refresh; its recovery meets the rest of the events."""
        is_strict = self.story.refresh_class is RefreshClass.S
        outcome = ""
        while outcome in ("", "doubt"):
            self.retries += self.in_doubt
            # Of a strict provider there is one retry, and here it meets no fault.
            outcome = self.post("good" if not events or (is_strict and outcome) else events.pop(0))
            self.in_doubt = outcome == "doubt" or (self.in_doubt and outcome == "later")
        if outcome == "refused":
            self.gave_up = True

    def post(self, event: str) -> str:
        """One POST: "stored", "later", "doubt" or "refused"."""
        exchange = self.story.arrive(self.holds, _FAULTS.get(event))
        if event == "cut before the commit":
            self.story.end(exchange, delivered=False)
            return "doubt"
        answer = self.story.commit(exchange)
        cut = event == "cut after the commit"
        self.story.end(exchange, delivered=not cut)
        if cut or answer.status >= 500:
            self.lost_answer = self.lost_answer or event.endswith("after the commit")
            return "doubt"
        if answer.status == 429:
            return "later"
        members = json.loads(answer.body)
        if "error" in members:
            return "refused"
        self.generation += 1
        if "refresh_token" in members:
            self.holds = token_parts(members["refresh_token"])[1]
        return "stored"


@settings(max_examples=300, deadline=None)
@given(
    refresh_class=st.sampled_from(RefreshClass),
    kills=st.booleans(),
    refreshes=st.lists(st.lists(st.sampled_from(_EVENTS), min_size=1, max_size=3), max_size=6),
)
def test_right_vault_is_never_blamed(
    refresh_class: RefreshClass, kills: bool, refreshes: list[list[str]]
) -> None:
    """Whatever happens to it, it is OK; only a strict provider's lost answer is the window."""
    story = Story(refresh_class, grace_s=_GRACE_S, family_kill_on_reuse=kills)
    vault = RightVault(story)
    for events in refreshes:
        if not vault.gave_up:
            vault.refresh(list(events))
    finding = story.judge(
        vault.holds,
        gave_up=vault.gave_up,
        generation=vault.generation,
        declared_retries=vault.retries,
    )
    strict_loss = refresh_class is RefreshClass.S and vault.lost_answer
    assert finding.verdict is (Verdict.LOST_IN_WINDOW if strict_loss else Verdict.OK), finding
    assert finding.double_posts == ()
    assert vault.gave_up == strict_loss


@settings(max_examples=300, deadline=None)
@given(
    refresh_class=st.sampled_from(RefreshClass),
    kills=st.booleans(),
    posts=st.lists(st.tuples(st.integers(1, 5), st.sampled_from(_EVENTS)), max_size=8),
    waits=st.booleans(),
    ended=st.sampled_from([None, None, Killed.OWNER]),
    holds=st.integers(0, 5),
    gave_up=st.booleans(),
    retries=st.integers(0, 2),
)
def test_any_vault_is_judged_by_what_works(
    refresh_class: RefreshClass,
    kills: bool,
    posts: list[tuple[int, str]],
    waits: bool,
    ended: Killed | None,
    holds: int,
    gave_up: bool,
    retries: int,
) -> None:
    """A grant counts as kept exactly where the next refresh succeeds, or its owner has ended it;
    and the window is only where a strict successor was never delivered."""
    story = Story(refresh_class, grace_s=_GRACE_S, family_kill_on_reuse=kills)
    vault = RightVault(story)
    for generation, event in posts:
        vault.holds = generation if generation in story.tokens else 1
        vault.post(event)
    if waits:
        story.operations.advance(_GRACE_S)
    if ended is not None:
        story.operations.kill(story.first.family, ended)
    finding = story.judge(holds, gave_up=gave_up, declared_retries=retries)

    family = story.service.model.families[story.first.family]
    works = story.service.model.standing(story.tokens.get(holds, "")).works
    kept = family.killed is Killed.OWNER or (works and not gave_up)
    assert (finding.verdict in (Verdict.OK, Verdict.DOUBLE_POST)) == kept
    if finding.verdict is Verdict.KILLED_FAMILY:
        assert family.killed is Killed.REUSE
    if finding.verdict is Verdict.LOST_IN_WINDOW:
        assert refresh_class is RefreshClass.S
        newest = [each for each in story.service.ledger.entries if each.issued == family.generation]
        assert newest
        assert not any(each.gave_tokens for each in newest)
    if kept:
        outcome = story.post(holds) if family.killed is None else 0
        assert outcome == 0 or story.service.ledger.entries[outcome - 1].issued
