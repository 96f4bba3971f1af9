"""What is done about a due row."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vault_service.domain import limits
from vault_service.domain.grant import NEVER, GrantState
from vault_service.domain.schedule import (
    Due,
    DueGrant,
    Step,
    ahead_time,
    decide,
    first_look_time,
    keep_alive_time,
    retry_pause_s,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY_S = 86_400
GRANT = uuid.UUID(int=5)


def _ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def _due(**changes: Any) -> DueGrant:
    """In use, 59 of its token's 60 minutes gone, no idle life."""
    facts: dict[str, Any] = {
        "tenant": "acme",
        "grant_id": GRANT,
        "oauth_client": "crm",
        "state": GrantState.ACTIVE,
        "generation": 3,
        "has_refresh_token": True,
        "access_expire_time": NOW + timedelta(seconds=60),
        "access_life_s": 3_600,
        "refresh_time": _ago(3_540),
        "last_used_time": _ago(600),
        "not_before": None,
        "failures": 0,
        "warned_generation": None,
        "planned": False,
        "suspended": False,
        "max_idle_s": 0,
        "rate_per_s": 0,
        "rate_per_min": 0,
        "kills_old_token": False,
        "leased_until": NOW + timedelta(seconds=120),
        "read_time": NOW,
    }
    return DueGrant(**(facts | changes))


def _idle(days: float, **changes: Any) -> DueGrant:
    """Not used, its token long dead; its provider lets it lie for a hundred days."""
    expired = _ago(days * DAY_S - 3_600)
    facts: dict[str, Any] = {"last_used_time": None, "access_expire_time": expired}
    facts |= {"refresh_time": _ago(days * DAY_S), "max_idle_s": 100 * DAY_S}
    return _due(**(facts | changes))


def test_in_use_is_refreshed_ahead() -> None:
    """A token in use that is near its end is refreshed."""
    assert decide(_due(), limits.IN_USE_S) == Step(refresh=Due.AHEAD)


def test_in_use_is_looked_at_again() -> None:
    """One with life enough is due again at its moment, which is 70 to 90 % of its life."""
    step = decide(_due(access_expire_time=NOW + timedelta(seconds=3_500)), limits.IN_USE_S)
    assert step.refresh is None
    assert step.look_time is not None
    assert 2_420 <= (step.look_time - NOW).total_seconds() <= 3_140


@pytest.mark.parametrize(
    ("due", "in_use_s"),
    [
        (_due(last_used_time=None), limits.IN_USE_S),
        (_due(last_used_time=_ago(DAY_S + 1)), limits.IN_USE_S),
        (_due(), 0.0),
        (_due(access_life_s=limits.AHEAD_LIFE_MIN_S - 1), limits.IN_USE_S),
        (_due(access_expire_time=_ago(1)), limits.IN_USE_S),
        (_due(access_expire_time=NOW), limits.IN_USE_S),
        (_due(access_expire_time=None), limits.IN_USE_S),
    ],
    ids=["never used", "used long ago", "turned off", "short life", "expired", "now", "no token"],
)
def test_left_to_callers(due: DueGrant, in_use_s: float) -> None:
    """What is not in use, lives too shortly or is dead already leaves the index."""
    assert decide(due, in_use_s) == Step()


@pytest.mark.parametrize("state", [GrantState.REVOKED, GrantState.REAUTHORIZATION_REQUIRED])
def test_not_active_leaves_the_index(state: GrantState) -> None:
    """A grant that no refresh mends is not looked at any more."""
    assert decide(_due(state=state, max_idle_s=DAY_S), limits.IN_USE_S) == Step()


def test_keep_alive() -> None:
    """An unused grant is refreshed when 80 % of its provider's idle life is over, 5 % about."""
    assert decide(_idle(86), limits.IN_USE_S) == Step(refresh=Due.KEEP_ALIVE)
    early = decide(_idle(74), limits.IN_USE_S)
    assert early.refresh is None
    assert early.look_time is not None
    assert 1 * DAY_S <= (early.look_time - NOW).total_seconds() <= 11 * DAY_S


def test_keep_alive_before_a_long_token_ends() -> None:
    """A token that outlives its refresh token's idle life does not let it die."""
    far = NOW + timedelta(days=300)
    step = decide(
        _idle(86, access_expire_time=far, access_life_s=365 * DAY_S, last_used_time=NOW),
        limits.IN_USE_S,
    )
    assert step.refresh is Due.KEEP_ALIVE


def test_held_back() -> None:
    """What a back-off or a provider holds back is due when that ends."""
    later = NOW + timedelta(seconds=30)
    assert decide(_due(not_before=later), limits.IN_USE_S) == Step(look_time=later)
    assert decide(_due(not_before=_ago(1)), limits.IN_USE_S).refresh is Due.AHEAD


def test_suspended() -> None:
    """Grants of a suspended OAuthClient are not refreshed, and come back within an hour."""
    step = decide(_due(suspended=True), limits.IN_USE_S)
    assert step == Step(look_time=NOW + timedelta(seconds=limits.SUSPENDED_LOOK_S))


@pytest.mark.parametrize(
    ("due", "warns"),
    [
        (_idle(89), False),
        (_idle(91), True),
        (_idle(91, warned_generation=2), True),
        (_idle(91, warned_generation=3), False),
        (_idle(91, suspended=True), True),
        (_idle(91, not_before=NOW + timedelta(seconds=9)), True),
        (_idle(89, suspended=True), False),
    ],
)
def test_expiring_soon(due: DueGrant, warns: bool) -> None:
    """With less than a tenth of the idle life left it is said once for a generation."""
    assert decide(due, limits.IN_USE_S).warn is warns


def test_without_a_refresh_token() -> None:
    """A grant that cannot be refreshed is never tried: near its token's end it is said once."""
    bare: dict[str, Any] = {"has_refresh_token": False, "max_idle_s": DAY_S}
    assert decide(_due(**bare), limits.IN_USE_S) == Step(warn=True)
    assert decide(_due(**bare, warned_generation=3), limits.IN_USE_S) == Step()
    young = decide(_due(**bare, access_expire_time=NOW + timedelta(hours=1)), limits.IN_USE_S)
    assert (young.refresh, young.warn) == (None, False)
    assert young.look_time is not None


def test_first_look() -> None:
    """A generation enters the index at its moment; short tokens do so only to be warned of."""
    end = NOW + timedelta(seconds=100)
    assert first_look_time(end, 3_600, True, GRANT, 1) == ahead_time(end, 3_600, GRANT, 1)
    assert first_look_time(end, 100, True, GRANT, 1) is None
    assert first_look_time(end, 100, False, GRANT, 1) == ahead_time(end, 100, GRANT, 1)
    assert first_look_time(None, 3_600, True, GRANT, 1) is None


def test_retries_slow_down() -> None:
    """Failures in a row double the pause, up to a bound."""
    pauses = [retry_pause_s(failures, GRANT) for failures in range(30)]
    assert 4 <= pauses[0] <= 6
    assert all(pause <= limits.BACKGROUND_RETRY_MAX_S * 1.2 for pause in pauses)
    assert pauses[29] >= limits.BACKGROUND_RETRY_MAX_S * 0.8


def test_generations_are_spread_anew() -> None:
    """The same grant comes at another moment of each generation's life."""
    moments = {keep_alive_time(NOW, DAY_S, GRANT, generation) for generation in range(1, 20)}
    assert len(moments) == 19


def test_a_promised_token_is_not_refreshed_ahead() -> None:
    """Where a refresh ends the token before, nothing is refreshed ahead of its end."""
    assert decide(_due(kills_old_token=True), limits.IN_USE_S) == Step()


def test_keep_alive_waits_for_a_promised_token() -> None:
    """A keep-alive that would end a promised token comes at that token's end, unless the refresh
    token is dead by then."""
    facts: dict[str, Any] = {"kills_old_token": True, "refresh_time": _ago(86_000)}
    soon, late = NOW + timedelta(seconds=60), NOW + timedelta(seconds=1_000)
    waits = _due(**facts, max_idle_s=86_400, access_expire_time=soon)
    assert decide(waits, limits.IN_USE_S).look_time == soon
    dying = _due(**facts, max_idle_s=86_400, access_expire_time=late)
    assert decide(dying, limits.IN_USE_S).refresh is Due.KEEP_ALIVE


def test_an_endless_token_leaves_the_index() -> None:
    """A token without an end is not refreshed ahead, and nobody is warned of its end."""
    for renewable in (True, False):
        due = _due(access_expire_time=NEVER, has_refresh_token=renewable)
        assert decide(due, limits.IN_USE_S) == Step()
        assert first_look_time(NEVER, 3_600, renewable, GRANT, 1) is None


def test_an_unrenewed_token_is_looked_at_later() -> None:
    """A token that came again with 20 minutes left is not refreshed in a loop: it comes due when
    most of what it had left is over."""
    left = _due(
        refresh_time=NOW,
        access_life_s=21_600,
        access_expire_time=NOW + timedelta(seconds=1_200),
    )
    step = decide(left, limits.IN_USE_S)
    assert step.refresh is None
    assert step.look_time is not None
    assert step.look_time > NOW + timedelta(seconds=800)
