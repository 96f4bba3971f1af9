"""Tokens that live on are served through an outage, and say so; no others are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.fakes.token_endpoint import an_answer
from tests.support.house import PROVIDER, House, refused
from tests.support.refreshing import N, down
from tests.support.samples import a_profile
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.grant import Served


@pytest.fixture
def house() -> House:
    return House()


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


async def test_a_token_past_its_time(house: House) -> None:
    """Past four fifths of its life a token is STALE_PROVIDER_DOWN while the provider is known
    to be down, before that and after the outage it is FRESH."""
    made = await down(house)
    living = await house.row(made[5].name)
    end = house.clock.now().timestamp() + 3_600
    house.change_row(living, access_expire_time=_moment(end))
    assert (await house.token(living.name)).served is Served.FRESH
    house.change_row(living, access_expire_time=_moment(end - 3_000))
    for _ in range(2):  # from the database, then from memory
        token = await house.token(living.name)
        assert (token.served, token.refreshed) == (Served.STALE_PROVIDER_DOWN, False)
    *_, record = house.records(AuditAction.ACCESS_TOKEN_DISCLOSED)
    assert record.detail["served"] == "STALE_PROVIDER_DOWN"
    assert house.endpoint.ledger == []
    await house.providers.put(house.call(), PROVIDER, a_profile(**N))
    house.clock.advance(limits.BACKOFF_FIRST_S)
    await house.token(made[0].name)
    assert (await house.token(living.name)).served is Served.FRESH


async def test_never_below_min_ttl(house: House) -> None:
    """A token that lives shorter than asked, or has ended, is refused, whatever is down."""
    made = await down(house)
    end = house.clock.now().timestamp() + 300
    house.change_row(made[5], access_expire_time=_moment(end))
    assert (await house.token(made[5].name, 200)).served is Served.STALE_PROVIDER_DOWN
    await refused(Reason.PROVIDER_UNAVAILABLE, house.token(made[5].name, 301))
    house.clock.advance(301)
    house.endpoint.fail(AnswerClass.NOT_SENT)
    await refused(Reason.PROVIDER_UNAVAILABLE, house.token(made[5].name, 0))


@pytest.mark.parametrize(
    "how", [AnswerClass.NOT_SENT, AnswerClass.RATE_LIMITED, AnswerClass.CLIENT_REFUSED]
)
async def test_a_reported_token_that_cannot_be_replaced(house: House, how: AnswerClass) -> None:
    """A token that an API refused is served while it lives when its refresh fails, and says
    that it is not what was wanted."""
    grant = await house.grant(**N)
    house.change_row(grant, rejected_generation=1)
    house.endpoint.fail(how)
    token = await house.token(grant.name)
    assert (token.value.reveal(), token.served) == (b"at-1", Served.STALE_PROVIDER_DOWN)


async def test_a_reported_token_that_was_replaced(house: House) -> None:
    """Where the refresh succeeds it is REFRESHED."""
    grant = await house.grant(**N)
    house.change_row(grant, rejected_generation=1)
    house.endpoint.answers.append(an_answer("new"))
    token = await house.token(grant.name)
    assert (token.value.reveal(), token.served) == (b"new", Served.REFRESHED)
