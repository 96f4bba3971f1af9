"""Many grants at a simulated provider, for runs of minutes and hours in virtual time."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from enum import Enum

from tests.fakes.token_endpoint import FakeTokenEndpoint
from tests.support.house import House
from tests.support.virtual_time import LoopClock
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.grant import Grant
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import ClientCredential
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive


class Down(Enum):
    """How a provider that is down behaves."""

    REFUSES = 1  # connections are refused
    HANGS = 2  # requests are taken and never answered
    ANSWERS_503 = 3  # a gateway says so, without Retry-After
    ASKS_FOR_PAUSES = 4  # 503 with Retry-After: 20


class SimulatedProvider(FakeTokenEndpoint):
    """Answers after ``latency_s``; ``down`` while it is."""

    def __init__(self, latency_s: float = 0.1) -> None:
        super().__init__()
        self.down: Down | None = None
        self.latency_s = latency_s
        self.times: list[float] = []  # of every POST for a refresh

    async def refresh(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        token_endpoint: str,
        refresh_token: Sensitive,
        scopes: Collection[str] = (),
        post_limit_s: float,
        answer_limit_s: float,
    ) -> HttpAnswer:
        self.times.append(asyncio.get_running_loop().time())
        down = self.down
        if down is Down.REFUSES:
            raise TokenEndpointError(AnswerClass.NOT_SENT)
        if down is Down.HANGS:
            await asyncio.sleep(answer_limit_s)
            raise TokenEndpointError(AnswerClass.IN_DOUBT)
        await asyncio.sleep(self.latency_s)
        if down is not None:
            pause_s = 20.0 if down is Down.ASKS_FOR_PAUSES else None
            return HttpAnswer(503, "text/html", Sensitive(b"<html>"), pause_s)
        return await super().refresh(
            profile,
            client,
            token_endpoint=token_endpoint,
            refresh_token=refresh_token,
            scopes=scopes,
            post_limit_s=post_limit_s,
            answer_limit_s=answer_limit_s,
        )

    def most_within(self, window_s: float) -> int:
        """The most POSTs in any half-open window so long."""
        ends = (bisect_left(self.times, begin + window_s - 1e-6) for begin in self.times)
        return max((end - start for start, end in enumerate(ends)), default=0)


async def simulated(
    clock: LoopClock, replicas: int, **profile: object
) -> tuple[SimulatedProvider, list[House], Grant]:
    """Processes beside each other at one provider, and one grant of it."""
    provider = SimulatedProvider()
    first = House(clock=clock, endpoint=provider)
    houses = [first, *(House(first, f"i-{n}") for n in range(2, replicas + 1))]
    return provider, houses, await first.grant(**profile)


async def multiply(house: House, grant: Grant, count: int, left_s: float) -> Sequence[Grant]:
    """So many grants like this one, whose access tokens live ``left_s`` more."""
    assert grant.access_envelope is not None
    assert grant.refresh_envelope is not None
    access = await house.envelopes.open(grant.access_binding(), grant.access_envelope)
    refresh = await house.envelopes.open(grant.refresh_binding(), grant.refresh_envelope)
    sealer = await house.envelopes.sealer(grant.dek_owner)
    made = []
    for number in range(count):
        new = replace(
            grant,
            grant_id=house.entropy.uuid7(),
            subject=f"sub-{number}",
            access_expire_time=house.clock.now() + timedelta(seconds=left_s),
        )
        new = replace(
            new,
            access_envelope=sealer.seal(new.access_binding(), access),
            refresh_envelope=sealer.seal(new.refresh_binding(), refresh),
        )
        house.stores.tables.grants[new.grant_id] = new
        made.append(new)
    return made
