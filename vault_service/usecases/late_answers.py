"""Waits for answers that are late, where they may be the only ones.

A refresh token of class S that was presented may be dead, and its successor is in the answer. So
the request stays open past its limit, and nobody else may present the token: the owner renews its
lease, and its flight goes on. Who waits is told that the refresh is in doubt, and the provider's
place is given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.errors import VaultError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.refresh_times import RefreshTimes
from vault_service.ports import AttemptStore
from vault_service.usecases.flights import Flights
from vault_service.usecases.outages import Permit
from vault_service.usecases.provider_faults import refusal
from vault_service.usecases.refresh_outcomes import Attempted
from vault_service.usecases.shares import Shares


class LateAnswers:
    """At most ``places`` of them, of which a tenant may hold as many as it leaves free: each has a
    slot of the spool and a connection."""

    def __init__(self, attempts: AttemptStore, flights: Flights, places: int) -> None:
        self._attempts = attempts
        self._flights = flights
        self._places = Shares(max(1, places))
        self.came = 0  # answers that came after their limit, since the process started
        self.missed = 0  # requests that were given up without one

    @property
    def waiting(self) -> int:
        """How many are waited for now."""
        return self._places.inside

    async def answer(
        self,
        request: Coroutine[Any, Any, HttpAnswer],
        tried: Attempted,
        permit: Permit,
        times: RefreshTimes,
    ) -> HttpAnswer:
        """What ``request`` gives or raises; IN_DOUBT where it may not be late."""
        if times.answer_limit_s <= times.post_limit_s:
            return await request
        task = asyncio.create_task(request)
        try:
            done, _ = await asyncio.wait({task}, timeout=times.post_limit_s)
            if done:
                return task.result()
            return await self._late(task, tried, permit, times)
        finally:
            task.cancel()

    async def _late(
        self, task: asyncio.Task[HttpAnswer], tried: Attempted, permit: Permit, times: RefreshTimes
    ) -> HttpAnswer:
        tenant = tried.grant.tenant
        doubt = TokenEndpointError(AnswerClass.IN_DOUBT, detail="no whole answer within the limit")
        if not await self._places.enter(tenant, wait_s=0):
            # A process that stood still reads first what came meanwhile.
            await asyncio.wait({task}, timeout=limits.HTTP_LATE_READ_S)
            if task.done():
                return task.result()
            self.missed += 1
            raise doubt
        try:
            await permit.report(doubt)
            self._tell(tried, doubt)
            await self._hold(task, tried, times)
            answer = task.result()
        except TokenEndpointError:
            self.missed += 1
            raise
        finally:
            self._places.leave(tenant)
        self.came += 1
        return answer

    def _tell(self, tried: Attempted, doubt: TokenEndpointError) -> None:
        fault = refusal(doubt)
        fault.retry_after_s = limits.IN_DOUBT_RETRY_S
        self._flights.tell(("refresh", tried.grant.tenant, tried.grant.grant_id), fault)

    async def _hold(
        self, task: asyncio.Task[HttpAnswer], tried: Attempted, times: RefreshTimes
    ) -> None:
        """Until the task has ended. A lease that was lost is not got back: the answer is kept for
        whoever has it then. While the database is away there is nothing to do but wait."""
        ours = True
        while not task.done():
            pause_s = times.renew_s
            if ours:
                try:
                    ours = await self._attempts.renew(tried.lease, tried.attempt, times.lease_s)
                except VaultError:
                    pause_s = limits.RETRY_AFTER_S
            await asyncio.wait({task}, timeout=pause_s)
