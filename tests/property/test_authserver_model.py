"""The state of the scripted authorization server, against what each class promises."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.support.authserver import Behaviour, Issued, Killed, Model, RefreshClass, Standing

_LIFE_S = 40


@dataclass
class Given:
    """A refresh token as its holder knows it."""

    token: str
    generation: int
    replaced_at: float | None = None  # when it stopped being the current one
    replaced_in: int = -1  # in which success


class OneFamily(RuleBasedStateMachine):
    """One family, any of its tokens presented at any time, and an own account of the promises."""

    @initialize(
        refresh_class=st.sampled_from(RefreshClass),
        grace_s=st.sampled_from([1, 10]),
        kills_family=st.booleans(),
        kills_access=st.booleans(),
        window_s=st.sampled_from([0, 0, 5]),
    )
    def begin(
        self,
        refresh_class: RefreshClass,
        grace_s: float,
        kills_family: bool,
        kills_access: bool,
        window_s: float,
    ) -> None:
        """A consent."""
        self.now = 1_000.0
        self.behaviour = Behaviour(
            refresh_class=refresh_class,
            grace_s=grace_s,
            family_kill_on_reuse=kills_family,
            kills_old_access_token=kills_access,
            # The window and the grace are two answers to one question; here one is tried at once.
            same_pair_window_s=window_s if refresh_class is RefreshClass.S else 0,
            expires_in_s=_LIFE_S,
        )
        self.model = Model(lambda: self.now)
        first = self.model.new_family(self.behaviour, subject="u")
        self.family = first.family
        self.given = [Given(first.refresh_token, 1)]
        self.access = [(first.access_token, self.now)]
        self.successes = 0
        self.last_use_of_current = -1
        self.last: tuple[str, float, Issued] | None = None  # presented, when, answer
        self.killed = False

    def current(self) -> Given:
        """The newest."""
        return self.given[-1]

    def promised(self, given: Given) -> bool:
        """Whether the class promises that it works now."""
        kind = self.behaviour.refresh_class
        if self.killed:
            return False
        if given is self.current() or kind in (RefreshClass.N, RefreshClass.M):
            return True
        assert given.replaced_at is not None
        if kind is RefreshClass.G:
            # Nobody has used a successor since it was replaced, and it was not long ago.
            immediate = given.replaced_in >= self.last_use_of_current
            return immediate and self.now < given.replaced_at + self.behaviour.grace_s
        return self.repeats(given)

    def repeats(self, given: Given) -> bool:
        """Whether it falls into the window of the same pair."""
        return (
            self.last is not None
            and self.last[0] == given.token
            and self.now < self.last[1] + self.behaviour.same_pair_window_s
        )

    @rule(seconds=st.sampled_from([0.5, 1, 5, 10, 39.5]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @rule(back=st.integers(0, 4))
    def refresh(self, back: int) -> None:
        """The newest token or an older one is presented."""
        given = self.given[max(0, len(self.given) - 1 - back)]
        promised, repeats = self.promised(given), self.repeats(given)
        outcome = self.model.refresh(given.token)
        assert isinstance(outcome, Issued) == promised
        if not isinstance(outcome, Issued):
            assert outcome.presented == given.generation
            reuse = not self.killed and self.behaviour.family_kill_on_reuse
            assert outcome.killed == reuse
            self.killed = self.killed or reuse
            return
        if repeats:
            assert outcome.repeated
            assert self.last is not None
            assert outcome.access_token == self.last[2].access_token
            assert outcome.refresh_token == self.current().token
            return
        self.count(given, outcome)

    def count(self, given: Given, outcome: Issued) -> None:
        """A new generation."""
        assert not outcome.repeated
        assert outcome.generation == len(self.access) + 1, "one more each time"
        self.access.append((outcome.access_token, self.now))
        self.last = (given.token, self.now, outcome)
        if self.behaviour.refresh_class is RefreshClass.N:
            assert outcome.refresh_token == given.token, "the same one for ever"
            assert not outcome.reissued
            return
        if given is self.current():
            self.last_use_of_current = self.successes
        self.current().replaced_at, self.current().replaced_in = self.now, self.successes
        self.successes += 1
        assert outcome.refresh_token not in {each.token for each in self.given}
        self.given.append(Given(outcome.refresh_token, outcome.generation))

    @precondition(lambda self: not self.killed and len(self.access) > 4)
    @rule()
    def revoke(self) -> None:
        """The client ends it by any of its refresh tokens."""
        assert self.model.revoke(self.given[0].token) == self.family
        self.killed = True
        assert self.model.families[self.family].killed is Killed.CLIENT

    @invariant()
    def standings(self) -> None:
        """What is asked changes nothing, and is what a refresh would meet."""
        for given in self.given:
            assert self.model.standing(given.token).works == self.promised(given)
        working = {each.generation for each in self.given if self.promised(each)}
        assert set(self.model.working(self.family)) == working
        if not self.killed:
            assert self.model.standing(self.current().token) is Standing.CURRENT

    @invariant()
    def access_tokens(self) -> None:
        """They live their time, or until the next refresh where that kills them."""
        for position, (token, since) in enumerate(self.access):
            newest = position == len(self.access) - 1
            spared = newest or not self.behaviour.kills_old_access_token
            works = not self.killed and spared and self.now < since + _LIFE_S
            assert self.model.access_works(token) == works


TestOneFamily = OneFamily.TestCase
TestOneFamily.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
