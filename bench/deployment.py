"""What is measured: a real deployment with grants in it, and echoes beside it, each pinned."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.authserver import AuthServer
from tests.support.vault import RealVault
from tokenvault.v1 import token_service_pb2
from vault_service.embedded.child import Child

TOKEN_BYTES = 420  # the whole answer has about 600: a small opaque or JWT access token
_READY_S = 30.0
_LOAD_LIMIT_S = 120.0
_HERE = Path(__file__).parent


def pin(pid: int, cores: Sequence[int]) -> None:
    """All threads of a process, and what it starts from now on."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), cores)


class Deployment:
    """Servers, one ``serve`` process, and echo processes; ``server_cores`` is theirs alone."""

    def __init__(self, directory: Path, grants: int) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.server_cores = cores[:1]
        self.other_cores = cores[1:] or cores
        self.directory = directory
        self.grants = grants
        self.vault = RealVault(directory)
        self.ports: dict[str, int] = {}
        self.pids: dict[str, int] = {}
        self.requests: dict[str, list[str]] = {}
        self._echoes: list[Child] = []

    def start(self) -> Deployment:
        """PostgreSQL (durable), OpenBao, the service, its grants."""
        # PostgreSQL's processes inherit it; the service and the echoes are pinned afterwards.
        os.sched_setaffinity(0, self.other_cores)
        self.vault.start()
        with AuthServer(self.vault.ca) as provider:
            provider.configure(access_token_bytes=TOKEN_BYTES, expires_in_s=86_400)
            self.ports["vault"] = self.vault.serve("bench", [provider.host_port])
            asyncio.run(self._seed(provider))
        self.pids["vault"] = self.vault.processes["bench"].pid
        pin(self.pids["vault"], self.server_cores)
        for name, flags in (("echo", ()), ("echo_identity", ("--identity",))):
            self._start_echo(name, flags)
        return self

    async def _seed(self, provider: AuthServer) -> None:
        operator = self.vault.client("operator", self.ports["vault"])
        app = self.vault.client("calendar-app", self.ports["vault"])
        by_name, by_alias = [], []
        async with operator, app:
            await provider.register(operator)
            for number in range(self.grants):
                done = await provider.consent(app, f"user-{number}")
                by_name.append(token_service_pb2.GetAccessTokenRequest(grant=done.grant.name))
                by_alias.append(token_service_pb2.GetAccessTokenRequest(alias=done.alias))
                await app.get_access_token(grant=done.grant.name)
        self.requests["grant"] = [_text(request) for request in by_name]
        self.requests["alias"] = [_text(request) for request in by_alias]

    def _start_echo(self, name: str, flags: Sequence[str]) -> None:
        files = self.vault.ca.issue("tokenvault", server=True, client=False, dns=("localhost",),
            ips=("127.0.0.1",), spiffe_id="spiffe://dev.tokenvault/tokenvault")  # fmt: skip
        port_file = self.directory / f"{name}.port"
        argv = [
            sys.executable, "-m", "bench.echo", *flags, "--size-bytes", str(TOKEN_BYTES + 150),
            "--port-file", str(port_file), "--key-file", str(files.key_file),
            "--certificate-file", str(files.certificate_file),
            "--ca-file", str(self.vault.ca.root_file),
        ]  # fmt: skip
        child = Child(name, argv, log_file=self.directory / f"{name}.log", cwd=_HERE.parent)
        child.start()
        self._echoes.append(child)
        child.wait_ready(port_file.exists, _READY_S)
        self.ports[name] = int(port_file.read_text())
        self.pids[name] = child.pid
        pin(child.pid, self.server_cores)

    def load(
        self, target: str, *, by: str = "grant", connections: int, streams: int,
        measure_s: float, warm_up_s: float = 1.0, rate: float = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """One load process against one server; what it measured."""
        caller = self.vault.ca.files("calendar-app")
        spec = {
            "port": self.ports[target],
            "connections": connections,
            "streams": streams,
            "warm_up_s": warm_up_s,
            "measure_s": measure_s,
            "rate": rate,
            "requests": self.requests[by],
            "certificate_file": str(caller.certificate_file),
            "key_file": str(caller.key_file),
            "ca_file": str(self.vault.ca.root_file),
        }
        before = _cpu_s(self.pids[target])
        done = subprocess.run(
            [sys.executable, str(_HERE / "load.py")],
            input=json.dumps(spec),
            capture_output=True,
            text=True,
            timeout=_LOAD_LIMIT_S,
            check=True,
        )
        result: dict[str, Any] = json.loads(done.stdout)
        used_us = 1e6 * (_cpu_s(self.pids[target]) - before)
        result["server_cpu_us"] = round(used_us / max(1, result.pop("answers")), 1)
        if result["failures"] or not result["calls"]:
            raise RuntimeError(f"{target}: {result}")
        return result

    def stop(self) -> None:
        """End everything."""
        for child in self._echoes:
            child.stop()
        self.vault.stop()


@contextmanager
def deployment(grants: int) -> Iterator[Deployment]:
    """A deployment of its own, gone afterwards."""
    # Short, since a socket's path has 107 bytes; open, since PostgreSQL may run as another user.
    directory = Path(tempfile.mkdtemp(prefix="tvb-"))
    directory.chmod(0o711)
    made = Deployment(directory, grants)
    try:
        yield made.start()
    finally:
        made.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _text(request: token_service_pb2.GetAccessTokenRequest) -> str:
    return base64.b64encode(request.SerializeToString()).decode()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
