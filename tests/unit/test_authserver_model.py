"""The scripted authorization server's state: what the classes leave open."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.authserver import (
    Behaviour,
    Issued,
    Killed,
    Model,
    RefreshClass,
    Refused,
    Standing,
    token_parts,
)


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At 100 s."""
    return Clock()


@pytest.fixture
def model(clock: Clock) -> Model:
    """Empty."""
    return Model(clock)


def refreshed(model: Model, token: str, **more: Any) -> Issued:
    """A refresh that must succeed."""
    outcome = model.refresh(token, **more)
    assert isinstance(outcome, Issued), outcome
    return outcome


def refused(model: Model, token: str, **more: Any) -> Refused:
    """A refresh that must not."""
    outcome = model.refresh(token, **more)
    assert isinstance(outcome, Refused), outcome
    return outcome


def test_predecessor_works_to_the_moment(model: Model, clock: Clock) -> None:
    """Class G: the predecessor works just before its grace is over and not at that moment."""
    first = model.new_family(Behaviour(refresh_class=RefreshClass.G, grace_s=30))
    refreshed(model, first.refresh_token)
    clock.now += 29.999
    assert model.standing(first.refresh_token) is Standing.PREDECESSOR
    clock.now += 0.001
    assert model.standing(first.refresh_token) is Standing.DEAD


def test_siblings_of_a_grace_both_work(model: Model) -> None:
    """Class G: a predecessor presented twice gives siblings, and the elder has a grace too."""
    first = model.new_family(Behaviour(refresh_class=RefreshClass.G, grace_s=30))
    elder = refreshed(model, first.refresh_token)
    younger = refreshed(model, first.refresh_token)
    assert younger.refresh_token != elder.refresh_token
    assert model.working(first.family) == (1, 2, 3)
    refreshed(model, younger.refresh_token)
    assert model.working(first.family) == (3, 4), "only the immediate predecessor is left"


def test_reuse_kills_the_family(model: Model) -> None:
    """Where reuse kills, the newest tokens die with the family, and later reuse kills no more."""
    first = model.new_family(Behaviour(family_kill_on_reuse=True))
    second = refreshed(model, first.refresh_token)
    assert refused(model, first.refresh_token).killed
    assert not model.access_works(second.access_token)
    again = refused(model, second.refresh_token)
    assert (again.killed, again.standing) == (False, Standing.FAMILY_KILLED)
    assert model.families[first.family].killed is Killed.REUSE


def test_unknown_token_kills_nothing(model: Model) -> None:
    """A token that was never issued is refused, of no family."""
    model.new_family(Behaviour(family_kill_on_reuse=True))
    assert refused(model, "rt-other") == Refused(error="invalid_grant")


def test_same_pair_until_its_use(model: Model, clock: Clock) -> None:
    """A repeat within the window is given the same pair; after the successor's use it is reuse."""
    first = model.new_family(Behaviour(same_pair_window_s=10, family_kill_on_reuse=True))
    second = refreshed(model, first.refresh_token)
    clock.now += 9
    repeat = refreshed(model, first.refresh_token)
    assert repeat.repeated
    assert (repeat.access_token, repeat.refresh_token) == (
        second.access_token,
        second.refresh_token,
    )
    refreshed(model, second.refresh_token)
    assert refused(model, first.refresh_token).killed


def test_same_pair_ends_with_its_window(model: Model, clock: Clock) -> None:
    """After the window a repeat is refused."""
    first = model.new_family(Behaviour(same_pair_window_s=10))
    refreshed(model, first.refresh_token)
    clock.now += 10
    assert refused(model, first.refresh_token).standing is Standing.DEAD


def test_omitted_refresh_token_stays(model: Model) -> None:
    """A refresh that gives no refresh token leaves the old one alive, in class S too."""
    first = model.new_family(Behaviour(omits=frozenset({"refresh_token"})))
    assert first.reissued, "a consent always gives one"
    second = refreshed(model, first.refresh_token)
    assert (second.reissued, second.refresh_token) == (False, first.refresh_token)
    assert refreshed(model, first.refresh_token).generation == 3


def test_idle_token_dies_and_use_keeps_it(model: Model, clock: Clock) -> None:
    """A refresh token that is not used for idle_s is dead; that is no reuse."""
    behaviour = Behaviour(refresh_class=RefreshClass.N, idle_s=50, family_kill_on_reuse=True)
    first = model.new_family(behaviour)
    clock.now += 49
    refreshed(model, first.refresh_token)
    clock.now += 49
    refreshed(model, first.refresh_token)
    clock.now += 50
    assert not refused(model, first.refresh_token).killed


def test_advancing_lets_time_pass(model: Model) -> None:
    """advance moves the state's clock without its source."""
    first = model.new_family(Behaviour(expires_in_s=60))
    model.advance(59.5)
    assert model.access_works(first.access_token)
    model.advance(0.5)
    assert not model.access_works(first.access_token)


def test_code_works_once(model: Model) -> None:
    """A code's second use is refused and ends what the first gave (RFC 6749 §4.1.2)."""
    first = model.redeem_code("ann.1~0", Behaviour())
    assert isinstance(first, Issued)
    assert (first.subject, first.expires_in_s) == ("ann", 0)
    assert not model.access_works(first.access_token), "stale on arrival"
    again = model.redeem_code("ann.1~0", Behaviour())
    assert isinstance(again, Refused)
    assert model.standing(first.refresh_token) is Standing.FAMILY_KILLED


def test_family_belongs_to_its_client(model: Model) -> None:
    """Another client's refresh token is invalid, and its presenting changes nothing."""
    first = model.new_family(Behaviour(family_kill_on_reuse=True), client_id="one")
    assert refused(model, first.refresh_token, client_id="two").error == "invalid_grant"
    refreshed(model, first.refresh_token, client_id="one")


def test_scopes_narrow_and_change(model: Model) -> None:
    """A refresh may ask for less, not for more; and a provider may say something else."""
    first = model.new_family(Behaviour(scope="a b", refresh_class=RefreshClass.N))
    assert refreshed(model, first.refresh_token, scope="a").scope == "a"
    assert refused(model, first.refresh_token, scope="a c").error == "invalid_scope"
    other = model.new_family(Behaviour(scope="a b", scope_on_refresh="a"))
    assert refreshed(model, other.refresh_token).scope == "a"


def test_revoking(model: Model) -> None:
    """RFC 7009: an access token dies alone, a refresh token with its family, others are nothing."""
    first = model.new_family(Behaviour())
    assert model.revoke(first.access_token) == first.family
    assert not model.access_works(first.access_token)
    assert model.standing(first.refresh_token) is Standing.CURRENT
    assert model.revoke(first.refresh_token) == first.family
    assert model.standing(first.refresh_token) is Standing.FAMILY_KILLED
    assert model.revoke("of somebody else") is None


def test_access_tokens_are_filled_up(model: Model) -> None:
    """An access token has the wanted length, and no two are alike."""
    behaviour = Behaviour(access_token_bytes=420, refresh_class=RefreshClass.N)
    first = model.new_family(behaviour)
    second = refreshed(model, first.refresh_token)
    assert [len(first.access_token), len(second.access_token)] == [420, 420]
    assert model.family_of(second.access_token) == (first.family, 2)


def test_tokens_tell_their_generation(model: Model) -> None:
    """Family and generation stand in a token, filled up or not; what is not ours is refused."""
    first = model.new_family(Behaviour(access_token_bytes=60))
    second = refreshed(model, first.refresh_token)
    for token in (second.access_token, second.refresh_token):
        assert token_parts(token) == model.family_of(token) == (first.family, 2)
    with pytest.raises(ValueError, match="somebody else"):
        token_parts("ya29.a0")
