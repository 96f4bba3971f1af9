"""A TCP forwarder whose way out always has the same address and port."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

from vault_service.embedded.machine import LOOPBACK, choose_port

_ACCEPT_LIMIT_S = 0.1
_CHUNK_BYTES = 65_536
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: a reset, so that the port is free at once


class FixedPortForwarder:
    """Forwards to ``target_port``, always from ``source``: a new connection ends the one before.

    So different clients reach the server from one address and port, one after another.
    """

    def __init__(self, target_port: int) -> None:
        self._target = (LOOPBACK, target_port)
        self._out_port = choose_port()
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.settimeout(_ACCEPT_LIMIT_S)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = int(self._listener.getsockname()[1])
        self.source = f"{LOOPBACK}:{self._out_port}"
        self.forwarded = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[FixedPortForwarder]:
        """Forward until the block ends."""
        self._thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._thread.join()
            self._listener.close()

    def _run(self) -> None:
        with contextlib.ExitStack() as current:
            while not self._ended.is_set():
                with contextlib.suppress(TimeoutError):
                    inner, _ = self._listener.accept()
                    current.close()
                    current.enter_context(self._forwarding(inner))
                    self.forwarded += 1

    @contextlib.contextmanager
    def _forwarding(self, inner: socket.socket) -> Iterator[None]:
        with inner, self._connect() as outer:
            ways = [
                threading.Thread(target=_copy, args=pair, daemon=True)
                for pair in ((inner, outer), (outer, inner))
            ]
            for way in ways:
                way.start()
            try:
                yield
            finally:
                for end in (inner, outer):
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RD)  # ends the reading; the close is a reset
                for way in ways:
                    way.join()

    def _connect(self) -> socket.socket:
        outer = socket.socket()
        outer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        outer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        outer.bind((LOOPBACK, self._out_port))
        outer.connect(self._target)
        return outer


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            sink.sendall(chunk)
