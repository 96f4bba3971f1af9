"""Steps with refreshes in a House that several suites share."""

from __future__ import annotations

from typing import Any

from tests.support.house import House
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
