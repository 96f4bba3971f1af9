"""Steps with refreshes in a House that several suites share."""

from __future__ import annotations

from typing import Any

from tests.support.house import House, refused
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.errors import Reason
from vault_service.domain.grant import Grant
from vault_service.domain.provider import RefreshClass


async def expired(house: House, **profile: object) -> Grant:
    """A grant whose access token is past its end; the provider's ledger starts empty."""
    grant = await house.grant(**profile)
    house.clock.advance(3_600)
    house.endpoint.ledger.clear()
    return grant


def of_class(refresh_class: RefreshClass) -> dict[str, Any]:
    """A profile of this class."""
    grace_s = 30 if refresh_class is RefreshClass.G else 0
    return {"refresh_class": refresh_class, "grace_s": grace_s}


async def until(house: House, posts: int) -> None:
    """Waits for this many requests at the provider."""
    while len(house.endpoint.ledger) < posts:
        house.endpoint.arrived.clear()
        await house.endpoint.arrived.wait()


N = of_class(RefreshClass.N)  # what fails there is never in doubt


async def grants(house: House, count: int, **profile: object) -> list[Grant]:
    """Grants of different accounts, all expired; the provider's ledger starts empty."""
    await house.register(**profile)
    made = []
    for number in range(count):
        house.endpoint.subject = f"sub-{number}"
        made.append((await house.consent(f"u-{number}")).grant)
    house.clock.advance(3_600)
    house.endpoint.ledger.clear()
    return made


async def down(house: House, how: AnswerClass = AnswerClass.NOT_SENT) -> list[Grant]:
    """Six expired grants of a provider at which five refreshes have just failed."""
    made = await grants(house, 6, **N)
    house.endpoint.fail(how, times=limits.BREAKER_FAILURES_MIN)
    for grant in made[:5]:
        reason = Reason.PROVIDER_UNAVAILABLE
        if how in (AnswerClass.CLIENT_REFUSED, AnswerClass.REQUEST_REFUSED):
            reason = Reason.CLIENT_MISCONFIGURED
        await refused(reason, house.token(grant.name))
    house.endpoint.ledger.clear()
    return made
