"""A server in a process of its own, and its control plane over HTTP for any number of others."""

from __future__ import annotations

import http.client
import json
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from tests.support.authserver.controls import Controls
from tests.support.authserver.operations import HINTS
from vault_service.embedded.child import Child
from vault_service.embedded.devca import DevCA
from vault_service.embedded.machine import choose_port

_OPERATION_LIMIT_S = 60.0
_READY_S = 20.0
_ROOT = Path(__file__).parents[3]


class RemoteAuthServer(Controls):
    """The handle of a server that another process started; ``port_file`` tells where it is."""

    def __init__(self, port_file: Path) -> None:
        ports = json.loads(port_file.read_text())
        super().__init__(ports["port"])
        self.pid: int = ports["pid"]
        self._control = http.client.HTTPConnection(
            "127.0.0.1", ports["control_port"], timeout=_OPERATION_LIMIT_S
        )
        self._lock = threading.Lock()

    def operate(self, operation: str, **arguments: Any) -> Any:
        """By the control endpoint. Raises ValueError when it refuses."""
        with self._lock:
            self._control.request("POST", f"/control/{operation}", msgspec.json.encode(arguments))
            answer = self._control.getresponse()
            body = answer.read()
        if answer.status != 200:
            raise ValueError(body.decode())
        result = msgspec.json.decode(body)["result"]
        return msgspec.convert(result, HINTS[operation]["return"])

    def close(self) -> None:
        """The handle, not the server."""
        self._control.close()


class AuthServerProcess:
    """Starts ``python -m tests.support.authserver``; ``handle`` controls it."""

    def __init__(
        self, directory: Path, ca: DevCA, *, ledger_file: Path | None = None, seed: int = 0
    ) -> None:
        port = choose_port()
        issued = ca.issue(f"authserver-{port}", ips=("127.0.0.1",), server=True, client=False)
        self.port_file = directory / f"authserver-{port}.json"
        argv = [
            sys.executable, "-m", "tests.support.authserver", "--port", str(port),
            "--certificate-file", str(issued.certificate_file), "--seed", str(seed),
            "--key-file", str(issued.key_file), "--port-file", str(self.port_file),
        ]  # fmt: skip
        if ledger_file is not None:
            argv += ["--ledger-file", str(ledger_file)]
        log = directory / f"authserver-{port}.log"
        self.child = Child("authserver", argv, log_file=log, cwd=_ROOT)

    def __enter__(self) -> RemoteAuthServer:
        self.handle = self.start()
        return self.handle

    def __exit__(self, *_: object) -> None:
        self.handle.close()
        self.stop()

    def start(self) -> RemoteAuthServer:
        """Start it, and wait until it listens."""
        self.child.start()
        self.child.wait_ready(self.port_file.exists, _READY_S)
        return RemoteAuthServer(self.port_file)

    def stop(self) -> None:
        """End it; its state is gone, the ledger's file stays."""
        self.child.stop()
        self.port_file.unlink(missing_ok=True)
