"""A server in a thread of this process, with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.support.authserver.controls import Controls
from tests.support.authserver.listener import Listener, tls_context
from tests.support.authserver.operations import Operations, perform
from tests.support.authserver.service import Service
from vault_service.embedded.devca import DevCA
from vault_service.embedded.machine import choose_port

_OPERATION_LIMIT_S = 30.0


class AuthServer(Controls):
    """https under the development CA, on a port that stays its own. ``up`` or ``with`` starts it;
    ``close`` ends it, and raises what went wrong inside."""

    def __init__(
        self,
        ca: DevCA,
        *,
        ledger_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        seed: int = 0,
    ) -> None:
        super().__init__(choose_port())
        issued = ca.issue(f"authserver-{self.port}", ips=("127.0.0.1",), server=True, client=False)
        self.service = Service(
            prefix=str(self.port), clock=clock, ledger_file=ledger_file, seed=seed
        )
        tls = tls_context(issued.certificate_file, issued.key_file)
        self._listener = Listener(self.service, tls, self.port)
        self._operations = Operations(self.service, self._listener)
        self._faults: list[BaseException] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def operate(self, operation: str, **arguments: Any) -> Any:
        """On the loop of the server."""
        coroutine = perform(self._operations, operation, arguments)
        running = asyncio.run_coroutine_threadsafe(coroutine, self._started())
        return running.result(_OPERATION_LIMIT_S)

    def close(self) -> None:
        """End it; AssertionError when its own code failed."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop = self._thread = None
        assert not self._faults, self._faults

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_exception_handler(self._failed)
            self._thread = threading.Thread(target=self._run, args=(self._loop,), daemon=True)
            self._thread.start()
        return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        self._listener.close()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        # The resets happen in callbacks.
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # A client that leaves in the middle of its handshake is no fault of ours.
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self._faults.append(error)
