"""grpc.health.v1, whose watchers do not hold up the end."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2


class HealthServicer(health.aio.HealthServicer):
    """The library's, but for the end: a Watch goes on for ever, so a server that waits for what is
    under way would wait its whole grace for every load balancer that watches."""

    def __init__(self) -> None:
        super().__init__()
        self._over = asyncio.Event()

    async def Watch(
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        """See the protocol; UNAVAILABLE at the end."""
        watching = asyncio.ensure_future(super().Watch(request, context))
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({watching, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            over.cancel()
            await asyncio.gather(watching, over, return_exceptions=True)
        if self._over.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is going away")

    def end_watches(self) -> None:
        """All of them, those to come too."""
        self._over.set()
