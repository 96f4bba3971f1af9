"""The limit of a request in a process that stands still now and then."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.fakes.https_server import (
    Request,
    Server,
    reply,
)
from vault_service.egress.answer import TransportFailure
from vault_service.egress.client import HttpClient

_LIMIT_S = 0.4


def _stand_still(seconds: float) -> None:
    """The whole loop, the client's part of it too: as in a stopped process."""
    time.sleep(seconds)


async def test_an_answer_that_came_meanwhile(server: Server, http: HttpClient) -> None:
    """A process that was stopped past the limit takes the answer that waits in its buffers: it may
    hold the only copy of a refresh token."""
    answer = reply(b"{}")

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await answer(request, writer)
        await writer.drain()
        _stand_still(_LIMIT_S + 0.2)

    server.behaviour = behave
    assert (await http.post_form(server.url, {}, limit_s=_LIMIT_S)).body.reveal() == b"{}"


async def test_no_answer_came_meanwhile(server: Server, http: HttpClient) -> None:
    """Where nothing came the request ends soon after, in doubt."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        _stand_still(_LIMIT_S + 0.2)
        await asyncio.sleep(5)

    server.behaviour = behave
    started = time.monotonic()
    with pytest.raises(TransportFailure) as failure:
        await http.post_form(server.url, {}, limit_s=_LIMIT_S)
    assert failure.value.sent
    assert time.monotonic() - started < _LIMIT_S + 2


async def test_a_machine_that_is_late_again_and_again(server: Server, http: HttpClient) -> None:
    """However often it stands still, a request comes to its end."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        for _ in range(30):
            _stand_still(0.15)
            await asyncio.sleep(0)

    server.behaviour = behave
    started = time.monotonic()
    with pytest.raises(TransportFailure):
        await http.post_form(server.url, {}, limit_s=_LIMIT_S)
    assert time.monotonic() - started < 4, "before the machine was well again"
