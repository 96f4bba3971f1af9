"""Sends what is due to webhooks: so many at a time, of which a tenant may hold as many as it leaves
free, and no more than a few to one endpoint.
"""

from __future__ import annotations

import asyncio

from vault_service.domain import limits
from vault_service.domain.access import Call, Caller
from vault_service.domain.errors import VaultError
from vault_service.domain.webhook import Delivery
from vault_service.ports import Clock, Entropy
from vault_service.telemetry import get_logger
from vault_service.usecases.deliver_webhooks import DeliverWebhooks

_BUDGET_S = 60.0
_log = get_logger("webhooks")


class WebhookDispatch:
    """Deliveries under way in this process. One that is lost with it is taken again by another
    after ``limits.WEBHOOK_HIDE_S``."""

    def __init__(self, deliver: DeliverWebhooks, clock: Clock, entropy: Entropy) -> None:
        self._deliver = deliver
        self._clock = clock
        self._entropy = entropy
        self._tasks: dict[asyncio.Task[None], Delivery] = {}

    async def step(self) -> None:
        """Look until nothing new is found; a slow endpoint holds up only itself."""
        while True:
            looked, fault = await self._fan_out()
            room = limits.WEBHOOK_DELIVERIES_MAX - len(self._tasks)
            # Whoever has some under way gets the next ones after them: that keeps the bound exact.
            due = await self._deliver.take(room, self._tasks.values()) if room else []
            for delivery in due:
                self._start(delivery)
            if fault is not None:
                raise fault
            if not looked and not due:
                return
            if self._tasks:
                await asyncio.wait(
                    self._tasks,
                    timeout=limits.WEBHOOK_SWEEP_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )

    async def _fan_out(self) -> tuple[int, Exception | None]:
        """What fails there, perhaps for one tenant, keeps nobody from what is due already."""
        try:
            return await self._deliver.fan_out(), None
        except Exception as fault:
            return 0, fault

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._attempt(delivery))
        self._tasks[task] = delivery
        task.add_done_callback(self._tasks.pop)

    async def _attempt(self, delivery: Delivery) -> None:
        call = Call(
            caller=Caller("", ""),
            rpc="worker/WebhookDispatch",
            request_id=self._entropy.uuid7().hex,
            source="",
            deadline=self._clock.monotonic() + _BUDGET_S,
        )
        try:
            answer = await self._deliver.deliver(call, delivery)
        except VaultError as error:
            _log.warning("delivery_failed", tenant=delivery.tenant, reason=error.reason.name)
        except Exception as fault:
            _log.error("delivery_fault", tenant=delivery.tenant, fault=type(fault).__name__)
        else:
            if answer is not None:
                _log.info(
                    "delivery",
                    tenant=delivery.tenant,
                    attempt=delivery.attempts + 1,
                    status=answer.status,
                )
