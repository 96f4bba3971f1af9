"""The asynchronous transport: one connection at a time, and the loop around an attempt."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, TypeVar

import grpc
import grpc.aio

from tokenvault_client._calls import Call, ResponseT, Stream, serialize
from tokenvault_client._certificates import Certificates
from tokenvault_client._limits import STREAM_LIFE_S
from tokenvault_client._retry import Attempts, Resumes
from tokenvault_client._settings import Settings, require_timeout
from tokenvault_client._status import Ended, Failure, broken_off, failure_of, telling
from tokenvault_client.errors import ClientClosed

ResultT = TypeVar("ResultT")

_CHANCE: Final = random.SystemRandom()


class Connection:
    """A channel of its own, which outlives its replacement until its last call has ended."""

    def __init__(self, settings: Settings, credentials: grpc.ChannelCredentials) -> None:
        self._target = settings.target
        self._channel = grpc.aio.secure_channel(
            settings.target, credentials, settings.channel_options()
        )
        self._open_calls = 0
        self._retired = False

    @property
    def is_over(self) -> bool:
        """Whether it was left and its last call has ended, so that it is closed."""
        return self._retired and self._open_calls == 0

    async def attempt(
        self, call: Call[ResponseT, ResultT], timeout_s: float
    ) -> ResponseT | grpc.aio.AioRpcError:
        """The answer, or how the attempt ended without one."""
        method = self._channel.unary_unary(
            call.path,
            request_serializer=serialize,
            response_deserializer=call.response_type.FromString,
        )
        self._open_calls += 1
        try:
            return await method(call.request, timeout=timeout_s)
        except grpc.aio.AioRpcError as fault:
            return fault
        finally:
            self._open_calls -= 1
            await self._close_if_unused()

    async def messages(
        self, stream: Stream[ResponseT, ResultT], cursor: str
    ) -> AsyncGenerator[ResponseT, None]:
        """The messages of one stream after the cursor; raises AioRpcError."""
        method = self._channel.unary_stream(
            stream.path,
            request_serializer=serialize,
            response_deserializer=stream.response_type.FromString,
        )
        self._open_calls += 1
        call = method(stream.request(cursor), timeout=STREAM_LIFE_S)
        try:
            async for message in call:
                yield message
        finally:
            call.cancel()
            self._open_calls -= 1
            await self._close_if_unused()

    def explain(self, fault: grpc.aio.AioRpcError) -> Failure:
        """What the fault means, with the state of the connection where that tells more."""
        connected = self._retired or self._channel.get_state() is grpc.ChannelConnectivity.READY
        return failure_of(
            Ended.of(
                self._target,
                fault.code(),
                fault.details(),
                fault.trailing_metadata(),
                connected=connected,
            )
        )

    async def retire(self) -> None:
        """No new calls will come; closes once the open ones have ended."""
        self._retired = True
        await self._close_if_unused()

    async def close(self) -> None:
        """Ends the open calls too."""
        await self._channel.close()

    async def _close_if_unused(self) -> None:
        if self.is_over:
            await self._channel.close()


class Runner:
    """Makes calls inside their deadlines, with the attempts that ``Attempts`` allows."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._certificates = Certificates(settings, time.monotonic())
        self._current: Connection | None = None
        self._open: set[Connection] = set()
        self._closed = False

    async def run(self, call: Call[ResponseT, ResultT], timeout_s: float | None = None) -> ResultT:
        """The result of a call; raises TokenVaultError, ConfigurationError or ClientClosed."""
        timeout_s = require_timeout(self.settings.timeout_s if timeout_s is None else timeout_s)
        attempts = Attempts(is_read=call.is_read, now_s=time.monotonic(), timeout_s=timeout_s)
        last: Failure | None = None
        while True:
            await self._follow_files()
            connection = self._connect()
            ended = await self._attempt(connection, call, attempts)
            if not isinstance(ended, grpc.aio.AioRpcError):
                return call.convert(ended)
            failure = connection.explain(ended)
            step = attempts.next_step(failure, now_s=time.monotonic(), chance=_CHANCE.random())
            if step is None:
                failure = telling(failure, last)
                raise failure.error from ended
            last = failure if failure.error.reason else last or failure
            await asyncio.sleep(step.delay_s)
            if step.new_connection:
                await self._replace(connection)

    async def follow(self, stream: Stream[ResponseT, ResultT]) -> AsyncGenerator[ResultT, None]:
        """The results of a stream that is opened again where it broke, after the last cursor;
        raises as ``run``."""
        cursor, resumes = stream.start, Resumes()
        while True:
            await self._follow_files()
            connection = self._connect()
            try:
                async with aclosing(connection.messages(stream, cursor)) as messages:
                    async for message in messages:
                        resumes.heard()
                        cursor = stream.cursor_of(message)
                        yield stream.convert(message)
                failure = broken_off()
            except grpc.aio.AioRpcError as fault:
                failure = connection.explain(fault)
            except asyncio.CancelledError:
                self._raise_if_closed()
                raise
            if self._closed:
                raise ClientClosed("the client was closed while it watched")
            step = resumes.next_step(failure, chance=_CHANCE.random())
            if step is None:
                raise failure.error
            await asyncio.sleep(step.delay_s)
            if step.new_connection:
                await self._replace(connection)

    async def close(self) -> None:
        """Ends open calls with ClientClosed; may be called twice."""
        self._closed = True
        self._current = None
        connections, self._open = self._open, set()
        for connection in connections:
            await connection.close()

    async def _follow_files(self) -> None:
        """Leaves the connection whose certificate was renewed on disk."""
        if self._certificates.changed(time.monotonic()) and self._current is not None:
            await self._replace(self._current)

    def _connect(self) -> Connection:
        # Nothing is awaited between this and the attempt: no other task retires it in between.
        if self._closed:
            raise ClientClosed("the client is closed")
        if self._current is None:
            self._current = Connection(self.settings, self._certificates.credentials)
            self._open = {each for each in self._open if not each.is_over} | {self._current}
        return self._current

    async def _attempt(
        self, connection: Connection, call: Call[ResponseT, ResultT], attempts: Attempts
    ) -> ResponseT | grpc.aio.AioRpcError:
        try:
            return await connection.attempt(call, attempts.remaining_s(time.monotonic()))
        except asyncio.CancelledError:
            self._raise_if_closed()
            raise

    def _raise_if_closed(self) -> None:
        """ClientClosed where it was ``close`` that cancelled, and not the caller's own task."""
        task = asyncio.current_task()
        if self._closed and (task is None or not task.cancelling()):
            raise ClientClosed("the client was closed during the call") from None

    async def _replace(self, connection: Connection) -> None:
        """The next attempt connects anew, unless another call has seen to it already."""
        if self._current is connection:
            self._current = None
            await connection.retire()
