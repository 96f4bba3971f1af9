"""The places where a secret could be left behind, as folders of files to search."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.vault import RealVault
from vault_service.config import Config
from vault_service.embedded.postgres_binaries import find_binaries

_BODY_MAX_BYTES = 1 << 24
_DUMP_LIMIT_S = 60
_PATHS = ("metrics", "livez", "readyz")


def dump(vault: RealVault, target: Path) -> Path:
    """pg_dump of the whole database, as an operator's backup has it."""
    handle = vault.database
    password = handle.superuser_password_file.read_text().strip()
    with target.open("wb") as file:
        subprocess.run(
            [
                find_binaries().program("pg_dump"), "--host", str(handle.socket_dir),
                "--port", str(handle.port), "--username", handle.superuser, handle.database,
            ],
            stdout=file, check=True, timeout=_DUMP_LIMIT_S,
            env={"PGPASSWORD": password, "PATH": os.defpath},
        )  # fmt: skip
    return target


def processes(pids: Iterable[int], target: Path) -> Path:
    """What ``ps`` shows of them and of their children, and their environments."""
    with target.open("wb") as file:
        for pid in _with_children(pids):
            for what in ("cmdline", "comm", "environ", "status"):
                with contextlib.suppress(OSError):  # it has ended, or is undumpable
                    file.write(Path(f"/proc/{pid}/{what}").read_bytes() + b"\n")
    return target


def _with_children(pids: Iterable[int]) -> set[int]:
    found, left = set(), list(pids)
    while left:
        pid = left.pop()
        found.add(pid)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                left += [int(child) for child in (task / "children").read_text().split()]
    return found


class Observed:
    """Metrics and traces of a process, where it has them: its variables, and what came of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port_file = folder / "metrics.port"
        self.metrics = "metrics" in Config.model_fields
        self.traces = "traces" in Config.model_fields
        self.collected = folder / "traces.bin"
        self.collected.touch()

    @contextlib.contextmanager
    def variables(self) -> Iterator[Mapping[str, str]]:
        """For the process's environment, while a collector listens."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._collector())
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        found = {"TOKENVAULT_LOG__LEVEL": "debug"}
        if self.metrics:
            found["TOKENVAULT_METRICS__PORT"] = "0"
            found["TOKENVAULT_METRICS__PORT_FILE"] = str(self._port_file)
        if self.traces:
            endpoint = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
            found["TOKENVAULT_TRACES__OTLP_ENDPOINT"] = endpoint
            found["TOKENVAULT_TRACES__SAMPLING_RATIO"] = "1"
        try:
            yield found
        finally:
            server.shutdown()
            server.server_close()

    def scrape(self, target: Path) -> Path:
        """All that the metrics port says."""
        target.touch()
        if self.metrics:
            port = int(self._port_file.read_text())
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            for path in _PATHS:
                with opener.open(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
                    target.open("ab").write(answer.read())
        return target

    def _collector(self) -> type[BaseHTTPRequestHandler]:
        collected = self.collected

        class Collector(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = min(int(self.headers.get("Content-Length", 0)), _BODY_MAX_BYTES)
                with collected.open("ab") as file:
                    file.write(str(self.headers).encode() + self.rfile.read(size) + b"\n")
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody reads it."""

        return Collector
