"""Health that is watched, at the end of the server."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.rpc.surface import LIMIT_S, Pki, Surface
from tests.support.house import APP, House


async def test_watchers_do_not_hold_up_the_end(pki: Pki) -> None:
    """A load balancer that watches health hears NOT_SERVING as soon as the end is announced; its
    stream ends with the server, which does not wait for it."""
    async with Surface(House(), pki).running() as surface:
        await surface.server.set_health({"database": True})
        stub: Any = health_pb2_grpc.HealthStub(surface.channel(APP))
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
        async with asyncio.timeout(LIMIT_S):
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            await surface.server.announce_stop()
            await surface.server.set_health({"database": True})
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            began = time.monotonic()
            await surface.server.stop(30)
            assert time.monotonic() - began < 5
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await watch.read()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_watcher_that_leaves(pki: Pki) -> None:
    """A watch that its client cancels leaves nothing behind, and others go on."""
    async with Surface(House(), pki).running() as surface:
        stub: Any = health_pb2_grpc.HealthStub(surface.channel(APP))
        leaves, stays = (stub.Watch(health_pb2.HealthCheckRequest(service="")) for _ in range(2))
        async with asyncio.timeout(LIMIT_S):
            for watch in (leaves, stays):
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            leaves.cancel()
            await asyncio.sleep(0.05)
            await surface.server.set_health({"database": True})
            assert (await stays.read()).status == health_pb2.HealthCheckResponse.SERVING
