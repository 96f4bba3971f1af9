"""The synchronous transport: the attempts of the asynchronous one, for any number of threads."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Final, TypeVar

import grpc

from tokenvault_client._calls import Call, ResponseT, Stream, serialize
from tokenvault_client._certificates import Certificates
from tokenvault_client._limits import STREAM_LIFE_S
from tokenvault_client._retry import Attempts, Resumes
from tokenvault_client._settings import Settings, require_timeout
from tokenvault_client._status import Ended, Failure, broken_off, failure_of, telling
from tokenvault_client.errors import ClientClosed

ResultT = TypeVar("ResultT")

_CHANCE: Final = random.SystemRandom()
_READY: Final = 2  # GRPC_CHANNEL_READY


class Connection:
    """A channel of its own. ``open_calls`` and ``retired`` belong to the lock of its runner."""

    def __init__(self, settings: Settings, credentials: grpc.ChannelCredentials) -> None:
        self._target = settings.target
        self._channel = grpc.secure_channel(
            settings.target, credentials, settings.channel_options()
        )
        self.open_calls = 0
        self.retired = False

    def attempt(
        self, call: Call[ResponseT, ResultT], timeout_s: float
    ) -> ResponseT | grpc.RpcError:
        """The answer, or how the attempt ended without one."""
        method = self._channel.unary_unary(
            call.path,
            request_serializer=serialize,
            response_deserializer=call.response_type.FromString,
        )
        try:
            return method(call.request, timeout=timeout_s)
        except grpc.RpcError as fault:
            return fault

    def messages(
        self, stream: Stream[ResponseT, ResultT], cursor: str
    ) -> Generator[ResponseT, None, None]:
        """The messages of one stream after the cursor; raises RpcError."""
        method = self._channel.unary_stream(
            stream.path,
            request_serializer=serialize,
            response_deserializer=stream.response_type.FromString,
        )
        call = method(stream.request(cursor), timeout=STREAM_LIFE_S)
        try:
            yield from call
        finally:
            call.cancel()

    def explain(self, fault: grpc.RpcError) -> Failure:
        """What the fault means, with the state of the connection where that tells more."""
        return failure_of(
            Ended.of(
                self._target,
                fault.code(),
                fault.details(),
                [(each.key, each.value) for each in fault.trailing_metadata() or ()],
                connected=self.retired or self._is_ready(),
            )
        )

    def close(self) -> None:
        """Ends the open calls too."""
        self._channel.close()

    def _is_ready(self) -> bool:
        # The public way to ask is a thread that polls. Where this one is gone, all that is lost
        # is one hint in the text of a DeadlineExceeded.
        ask = getattr(getattr(self._channel, "_channel", None), "check_connectivity_state", None)
        try:
            return ask is None or ask(False) == _READY
        except ValueError:
            return True  # closed meanwhile


class Runner:
    """Makes calls inside their deadlines, with the attempts that ``Attempts`` allows.

    Any number of threads may call ``run`` and ``close`` at once.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._certificates = Certificates(settings, time.monotonic())
        self._lock = threading.Lock()  # of all below, and of what hangs from it
        self._current: Connection | None = None
        self._open: set[Connection] = set()
        self._closing = threading.Event()

    def run(self, call: Call[ResponseT, ResultT], timeout_s: float | None = None) -> ResultT:
        """The result of a call; raises TokenVaultError, ConfigurationError or ClientClosed."""
        timeout_s = require_timeout(self.settings.timeout_s if timeout_s is None else timeout_s)
        attempts = Attempts(is_read=call.is_read, now_s=time.monotonic(), timeout_s=timeout_s)
        last: Failure | None = None
        while True:
            with self._lent() as connection:
                ended = self._attempt(connection, call, attempts)
                if not isinstance(ended, grpc.RpcError):
                    return call.convert(ended)
                failure = connection.explain(ended)
            step = attempts.next_step(failure, now_s=time.monotonic(), chance=_CHANCE.random())
            if step is None:
                failure = telling(failure, last)
                raise failure.error from ended
            last = failure if failure.error.reason else last or failure
            if self._closing.wait(step.delay_s):
                raise ClientClosed("the client was closed during the call")
            if step.new_connection:
                self._replace(connection)

    def follow(self, stream: Stream[ResponseT, ResultT]) -> Generator[ResultT, None, None]:
        """The results of a stream that is opened again where it broke, after the last cursor;
        raises as ``run``."""
        cursor, resumes = stream.start, Resumes()
        while True:
            with self._lent() as connection:
                try:
                    with closing(connection.messages(stream, cursor)) as messages:
                        for message in messages:
                            resumes.heard()
                            cursor = stream.cursor_of(message)
                            yield stream.convert(message)
                    failure = broken_off()
                except grpc.RpcError as fault:
                    failure = connection.explain(fault)
                except ValueError as fault:  # gRPC's word for a channel that was closed just before
                    if self._closing.is_set():
                        raise ClientClosed("the client was closed while it watched") from fault
                    raise
            if self._closing.is_set():
                raise ClientClosed("the client was closed while it watched")
            step = resumes.next_step(failure, chance=_CHANCE.random())
            if step is None:
                raise failure.error
            if self._closing.wait(step.delay_s):
                raise ClientClosed("the client was closed while it watched")
            if step.new_connection:
                self._replace(connection)

    def close(self) -> None:
        """Ends open calls with ClientClosed; may be called twice, from any thread."""
        with self._lock:
            self._closing.set()
            connections, self._open = self._open, set()
            self._current = None
        for connection in connections:
            connection.close()

    def _attempt(
        self, connection: Connection, call: Call[ResponseT, ResultT], attempts: Attempts
    ) -> ResponseT | grpc.RpcError:
        try:
            ended = connection.attempt(call, attempts.remaining_s(time.monotonic()))
        except ValueError as fault:  # gRPC's word for a channel that was closed just before
            if self._closing.is_set():
                raise ClientClosed("the client was closed during the call") from fault
            raise
        if (
            isinstance(ended, grpc.RpcError)
            and ended.code() is grpc.StatusCode.CANCELLED
            and self._closing.is_set()
        ):
            raise ClientClosed("the client was closed during the call") from ended
        return ended

    @contextmanager
    def _lent(self) -> Iterator[Connection]:
        """The connection of now, which nobody but ``close`` closes before it is given back."""
        with self._lock:
            connection, unused = self._connect()
            connection.open_calls += 1
        if unused is not None:
            unused.close()
        try:
            yield connection
        finally:
            with self._lock:
                connection.open_calls -= 1
                is_unused = self._is_unused(connection)
            if is_unused:
                connection.close()

    def _connect(self) -> tuple[Connection, Connection | None]:
        """The connection of now, and one to close that nobody uses any more."""
        if self._closing.is_set():
            raise ClientClosed("the client is closed")
        unused = None
        if self._certificates.changed(time.monotonic()) and self._current is not None:
            unused = self._retire(self._current)
        if self._current is None:
            self._current = Connection(self.settings, self._certificates.credentials)
            self._open.add(self._current)
        return self._current, unused

    def _replace(self, connection: Connection) -> None:
        """The next attempt connects anew, unless another thread has seen to it already."""
        with self._lock:
            unused = self._retire(connection) if self._current is connection else None
        if unused is not None:
            unused.close()

    def _retire(self, connection: Connection) -> Connection | None:
        """No new calls will come; the connection itself where the open ones have ended."""
        self._current = None
        connection.retired = True
        return connection if self._is_unused(connection) else None

    def _is_unused(self, connection: Connection) -> bool:
        """Whether it is to be closed now; says so once."""
        if not connection.retired or connection.open_calls or connection not in self._open:
            return False
        self._open.discard(connection)
        return True
