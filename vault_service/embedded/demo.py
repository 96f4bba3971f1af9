"""Starts the demo provider: its certificate, its one client, its port, its state."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from vault_service.embedded import loopback
from vault_service.embedded.child import Child
from vault_service.embedded.devca import DevCA
from vault_service.embedded.files import (
    Lock,
    private_folder,
    read_facts,
    secret_file,
    write_facts,
)
from vault_service.embedded.machine import (
    LOOPBACK,
    EmbeddedError,
    choose_port,
    require_free_port,
)

CLIENT_ID: Final = "tokenvault-demo"
ACCESS_LIFE_S: Final = 5
_START_LIMIT_S: Final = 30.0
_METADATA: Final = "/.well-known/oauth-authorization-server"
_IMPORT_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class DemoProviderHandle:
    """A running one, as its clients see it."""

    base_url: str  # https://127.0.0.1:port, which is the issuer
    ca_file: Path
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str

    @property
    def host_port(self) -> str:
        """As egress.allowed_private names it."""
        return self.base_url.removeprefix("https://")


class EmbeddedDemoProvider:
    """One demo provider in a folder of its own; its port is chosen once, since it is part of the
    issuer that grants are bound to."""

    def __init__(
        self,
        folder: Path,
        ca: DevCA,
        *,
        redirect_uri: str,
        access_life_s: int = ACCESS_LIFE_S,
    ) -> None:
        self._own = folder.absolute()
        self._ca = ca
        self._redirect_uri = redirect_uri
        self._access_life_s = access_life_s
        self._lock = Lock(self._own / "lock", "the demo provider")
        self._child: Child | None = None

    def start(self) -> DemoProviderHandle:
        """Start it; returns when it answers. Raises EmbeddedError."""
        if self._child is not None and self._child.alive():
            return self._handle(self._port())
        private_folder(self._own)
        self._lock.take()
        try:
            port = self._port() or choose_port()
            require_free_port(LOOPBACK, port, "the demo provider")
            self._run(port)
            write_facts(self._own / "ports.json", {"port": port})
            return self._handle(port)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop it in order."""
        if self._child is not None:
            self._child.stop()
        self._lock.release()

    def kill(self) -> None:
        """SIGKILL; what it has answered is on disk."""
        if self._child is not None:
            self._child.kill()
        self._lock.release()

    def pause(self) -> None:
        """It hangs: connections stay open and nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        """Undo ``pause``."""
        self._running().resume()

    def require_alive(self) -> None:
        """Raises EmbeddedError with the end of its log when it has died."""
        self._running().require_alive()

    def destroy(self) -> None:
        """Stop it and remove its state."""
        self.kill()
        shutil.rmtree(self._own, ignore_errors=True)

    def _run(self, port: int) -> None:
        config_file = self._own / "config.json"
        write_facts(config_file, self._config(port))
        self._child = Child(
            "the demo provider",
            [
                *(sys.executable, "-m", "vault_service.embedded.demo_provider"),
                *("--config", str(config_file)),
            ],
            log_file=self._own / "server.log",
            env={
                "PATH": os.defpath,
                "PYTHONPATH": os.pathsep.join([str(_IMPORT_ROOT), *filter(None, sys.path)]),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            cwd=self._own,
        )
        self._child.start()
        root = self._ca.root_file
        self._child.wait_ready(
            lambda: loopback.request(port, root, _METADATA).status == 200, _START_LIMIT_S
        )

    def _config(self, port: int) -> dict[str, Any]:
        issued = self._ca.issue(
            "demo-provider", dns=["localhost"], ips=[LOOPBACK], server=True, client=False
        )
        secret = secret_file(self._secret_file)
        client = {
            "client_id": CLIENT_ID,
            "secret_sha256": hashlib.sha256(secret.encode()).hexdigest(),
            "redirect_uris": [self._redirect_uri],
        }
        return {
            "host": LOOPBACK,
            "port": port,
            "certificate_file": str(issued.certificate_file),
            "key_file": str(issued.key_file),
            "state_file": str(self._own / "state.sqlite"),
            "access_life_s": self._access_life_s,
            "clients": [client],
        }

    @property
    def _secret_file(self) -> Path:
        return self._own / "client.secret"

    def _port(self) -> int:
        """The port of the earlier starts; 0 before the first."""
        return int(read_facts(self._own / "ports.json").get("port", 0))

    def _handle(self, port: int) -> DemoProviderHandle:
        return DemoProviderHandle(
            base_url=f"https://{LOOPBACK}:{port}",
            ca_file=self._ca.root_file,
            client_id=CLIENT_ID,
            client_secret=secret_file(self._secret_file),
            redirect_uri=self._redirect_uri,
        )

    def _running(self) -> Child:
        if self._child is None:
            raise EmbeddedError("the demo provider was not started")
        return self._child
