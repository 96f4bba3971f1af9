"""Tokens that a refresh does not renew, must not end, or that have no end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.fakes.token_endpoint import an_answer
from tests.support.house import House, refused
from vault_service.domain import limits
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.grant import NEVER, Grant, Served
from vault_service.domain.provider import TokenLife

KILLS = {
    "refresh_kills_old_access_token": True,
    "probe_endpoint": "https://op.example/me",
}


@pytest.fixture
def house() -> House:
    return House()


async def _grant(house: House, *answers: Any, **profile: Any) -> Grant:
    await house.register(**profile)
    house.endpoint.answers.extend(answers)
    return (await house.consent()).grant


def _posts(house: House) -> int:
    return len(house.endpoint.posted("refresh"))


async def test_what_an_old_token_has_left_is_no_life(house: House) -> None:
    """A refresh that brings the same token with less life left never makes min_ttl out of range;
    its callers come again after the true delay, and the provider is not asked meanwhile."""
    grant = await _grant(house, an_answer(life_s=60), an_answer(life_s=49))
    house.clock.advance(11)
    error = await refused(Reason.OVERLOADED, house.token(grant.name, 50))
    assert error.retryable
    assert error.retry_after_s == pytest.approx(3)
    house.clock.advance(2.5)
    again = await refused(Reason.OVERLOADED, house.token(grant.name, 50))
    assert again.retry_after_s == pytest.approx(0.5)
    assert _posts(house) == 1


async def test_the_new_token_is_got_when_there_is_one(house: House) -> None:
    """When the pause is over the provider is asked again, and its new token is served."""
    answers = [an_answer(life_s=60), an_answer(life_s=49), an_answer("at-2", life_s=60)]
    grant = await _grant(house, *answers)
    house.clock.advance(11)
    await refused(Reason.OVERLOADED, house.token(grant.name, 50))
    house.clock.advance(3)
    token = await house.token(grant.name, 50)
    assert (token.value.reveal(), token.served) == (b"at-2", Served.REFRESHED)
    assert _posts(house) == 2


async def test_the_pause_is_bounded(house: House) -> None:
    """A token of six hours is asked for every five minutes, and at its end at once."""
    answers = [an_answer(life_s=21_600), an_answer(life_s=4_000), an_answer("at-2", life_s=21_600)]
    grant = await _grant(house, *answers)
    house.clock.advance(17_600)
    error = await refused(Reason.OVERLOADED, house.token(grant.name, 7_200))
    assert error.retry_after_s == limits.UNRENEWED_PAUSE_MAX_S
    house.clock.advance(300)
    assert (await house.token(grant.name, 7_200)).value.reveal() == b"at-2"


async def test_unasked_an_unrenewed_token_is_served(house: House) -> None:
    """Who names no min_ttl gets the token that the provider gave again, until it ends."""
    grant = await _grant(house, an_answer(life_s=600), an_answer(life_s=50))
    house.clock.advance(550)
    token = await house.token(grant.name)
    assert token.value.reveal() == b"at"
    house.clock.advance(29)
    assert (await house.token(grant.name)).value.reveal() == b"at"
    assert _posts(house) == 1


async def test_a_life_that_is_not_told_does_not_begin_anew(house: House) -> None:
    """The same token without expires_in ends when it did before."""
    grant = await _grant(house, an_answer(life_s=600), an_answer(life_s=None))
    house.clock.advance(500)
    await refused(Reason.OVERLOADED, house.token(grant.name, 300))
    (row,) = house.stores.tables.grants.values()
    assert row.access_expire_time == grant.access_expire_time
    assert row.access_life_s == 600


async def test_a_new_token_with_a_shorter_life_sets_the_life(house: House) -> None:
    """A new token that lives less is what the provider gives now."""
    grant = await _grant(house, an_answer(life_s=600), an_answer("at-2", life_s=60))
    house.clock.advance(600)
    await refused(Reason.MIN_TTL_OUT_OF_RANGE, house.token(grant.name, 300))
    (row,) = house.stores.tables.grants.values()
    assert (row.access_life_s, row.unrenewed_time) == (60, None)


async def test_the_same_token_with_its_life_again(house: House) -> None:
    """A provider that lengthens the life of the same token is no reason to wait."""
    grant = await _grant(house, an_answer(life_s=60), an_answer(life_s=60))
    house.clock.advance(30)
    token = await house.token(grant.name, 50)
    assert token.expire_time == house.clock.now() + timedelta(seconds=60)


async def test_no_promised_token_is_ended(house: House) -> None:
    """Where a refresh ends the token before, a caller a second never sees one ended that was handed
    out with seconds promised."""
    grant = await _grant(house, *(an_answer(f"at-{n}", life_s=130) for n in range(4)), **KILLS)
    last, promised = b"", house.clock.now()
    for _ in range(300):
        left_s = (promised - house.clock.now()).total_seconds()
        if last and 0 < left_s < 5:
            error = await refused(Reason.OVERLOADED, house.token(grant.name, 5))
            assert error.retry_after_s == left_s
        else:
            token = await house.token(grant.name, 5)
            if last and token.value.reveal() != last:
                assert house.clock.now() >= promised
            last, promised = token.value.reveal(), token.expire_time
            assert promised - house.clock.now() >= timedelta(seconds=5)
        house.clock.advance(1)
    assert _posts(house) == 2


@pytest.mark.parametrize("min_ttl_s", [50, 100])
async def test_no_min_ttl_ends_a_promised_token(house: House, min_ttl_s: float) -> None:
    """Nor does a caller that wants more than is left: it is told when the token ends."""
    grant = await _grant(house, an_answer(life_s=130), **KILLS)
    house.clock.advance(90)
    error = await refused(Reason.OVERLOADED, house.token(grant.name, min_ttl_s))
    assert error.retry_after_s == pytest.approx(40)
    assert (await house.token(grant.name, 40)).value.reveal() == b"at"
    assert _posts(house) == 0


async def test_unasked_a_promised_token_is_served_late(house: House) -> None:
    """Who names no min_ttl gets the token until five seconds before its end."""
    grant = await _grant(house, an_answer(life_s=130), an_answer("at-2"), **KILLS)
    house.clock.advance(125)
    assert (await house.token(grant.name)).value.reveal() == b"at"
    house.clock.advance(1)
    await refused(Reason.OVERLOADED, house.token(grant.name))
    house.clock.advance(4)
    assert (await house.token(grant.name)).value.reveal() == b"at-2"


async def test_a_rejected_token_is_promised_to_nobody(house: House) -> None:
    """A token that an API refused is replaced at once, promised or not."""
    grant = await _grant(house, an_answer(life_s=130), an_answer("at-2", life_s=130), **KILLS)
    token = await house.token(grant.name)
    await house.report(house.call(), grant.name, token.fingerprint)
    house.clock.advance(100)
    assert (await house.token(grant.name, 100)).value.reveal() == b"at-2"


async def test_a_token_without_end(house: House) -> None:
    """It is served, says that it never expires, satisfies any min_ttl, and its record names no
    end."""
    grant = await _grant(house, an_answer(refresh=None, life_s=0))
    for min_ttl_s in (None, 0, limits.MIN_TTL_MAX_S):
        house.clock.advance(400 * 86_400)
        token = await house.token(grant.name, min_ttl_s)
        assert (token.never_expires, token.expire_time) == (True, NEVER)
        assert token.served is Served.FRESH
    assert _posts(house) == 0
    records = house.records(AuditAction.ACCESS_TOKEN_DISCLOSED)
    assert {record.detail["expire_time"] for record in records} == {"none"}


async def test_a_rejected_token_without_end(house: House) -> None:
    """Where it is refused and there is no refresh token, its caller learns that consent is
    needed."""
    grant = await _grant(house, an_answer(refresh=None, life_s=0))
    token = await house.token(grant.name)
    await house.report(house.call(), grant.name, token.fingerprint)
    error = await refused(Reason.NO_REFRESH_TOKEN, house.token(grant.name))
    assert "consent" in error.message


async def test_an_end_after_none(house: House) -> None:
    """A token that was endless and comes again with a life ends, and the life is the one told."""
    answers = [an_answer(life_s=0), an_answer(life_s=3_600)]
    grant = await _grant(house, *answers, token_life=TokenLife.ZERO_IS_ENDLESS)
    token = await house.token(grant.name)
    await house.report(house.call(), grant.name, token.fingerprint)
    token = await house.token(grant.name)
    assert token.expire_time == house.clock.now() + timedelta(seconds=3_600)
    (row,) = house.stores.tables.grants.values()
    assert row.access_life_s == 3_600
