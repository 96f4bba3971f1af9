"""Streams to callers: the same identity, refusals and record as single answers.

A stream ends in the normal course with STREAM_ENDED, which is no refusal: it goes out with its
reason and RetryInfo, and is not on record as one.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.errors import Reason, VaultError
from vault_service.rpc.bounds import Unreadable
from vault_service.rpc.handling import Context, Handled, abort
from vault_service.rpc.status import REQUEST_ID_KEY
from vault_service.usecases.watches import stream_ended

S = TypeVar("S", bound=Handled)
Q = TypeVar("Q")

Write = Callable[[Message], Awaitable[None]]
"""Sends one message; returns when the transport took it."""


def streamed(
    service: str, asked: Callable[[Any], str], life_s: float = limits.WATCH_LIFE_S
) -> Callable[
    [Callable[[S, Q, Call, Write], Awaitable[None]]],
    Callable[[S, Q, Context], AsyncIterator[Any]],
]:
    """Makes ``method(self, request, call, write)`` a handler of a server stream that lives for at
    most ``life_s``, and never longer than the caller's certificate."""

    def wrap(
        method: Callable[[S, Q, Call, Write], Awaitable[None]],
    ) -> Callable[[S, Q, Context], AsyncIterator[Any]]:
        rpc = f"{service}/{method.__name__}"

        @functools.wraps(method)
        async def handler(self: S, request: Q | Unreadable, context: Context) -> None:
            if isinstance(request, Unreadable):
                await self.handling.run(rpc, "", context, request.refuse, life_s=life_s)
            message = request
            ended: list[tuple[Call, VaultError]] = []

            async def work(call: Call) -> None:
                try:
                    await method(self, message, call, _writer(context, call))
                except VaultError as error:
                    if error.reason is not Reason.STREAM_ENDED:
                        raise
                    ended.append((call, error))

            await self.handling.run(rpc, asked(message), context, work, life_s=life_s)
            for call, error in ended:
                await abort(context, call, error)

        # gRPC takes coroutines that write as well as generators; the stubs know only these.
        return cast("Callable[[S, Q, Context], AsyncIterator[Any]]", handler)

    return wrap


def _writer(context: Context, call: Call) -> Write:
    begun = False

    async def write(message: Message) -> None:
        nonlocal begun
        try:
            async with asyncio.timeout(limits.WATCH_SEND_LIMIT_S):
                if not begun:
                    # Trailing metadata comes at the end: who watches wants to name the call now.
                    await context.send_initial_metadata(((REQUEST_ID_KEY, call.request_id),))
                    begun = True
                await context.write(message)
        except TimeoutError:
            raise stream_ended("nobody takes its messages") from None

    return write
