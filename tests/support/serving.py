"""Starting ``serve`` with a changed configuration, and asking a process for its health."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from tests.support.authserver import AuthServer
from tests.support.scraping import port_of, until_ready
from tests.support.vault import RealVault
from vault_service.embedded.devca import IssuedCertificate
from vault_service.embedded.settings_files import SettingsFiles, toml

_LIMIT_S = 20.0
_PROCESS_LIMIT_S = 40.0  # its start or its drain, on a busy machine
_POLL_S = 0.05
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def changed(files: SettingsFiles, target: Path, changes: Mapping[str, object]) -> Path:
    """A copy of the configuration at ``target``; "section.field": value, None leaves it out."""
    values = tomllib.loads(files.serve.read_text())
    sections: dict[str, dict[str, object]] = {"": {}}
    for key, value in values.items():
        if isinstance(value, dict):
            sections[key] = value
        else:
            sections[""][key] = value
    for name, value in changes.items():
        section, _, key = name.rpartition(".")
        sections.setdefault(section, {})[key] = value
        if value is None:
            del sections[section][key]
    target.write_text(toml(sections))
    return target


def start(config: Path, log: Path) -> subprocess.Popen[bytes]:
    """``serve`` in a process whose end and exit status the test sees."""
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "vault_service", "serve", "--config", str(config)],
            stdout=sink,
            stderr=sink,
        )


class Serving:
    """A process with changed settings; its end and exit status are the test's to see."""

    def __init__(
        self, vault: RealVault, provider: AuthServer, name: str, folder: Path, **more: Any
    ) -> None:
        self.files: SettingsFiles = vault.write_files(name, [provider.host_port])
        for file in (self.files.port, self.files.metrics_port):
            file.unlink(missing_ok=True)
        changes = {key.replace("__", "."): value for key, value in more.items()}
        config = changed(self.files, vault.directory / f"{name}-changed.toml", changes)
        self.log_file = folder / f"{name}.log"
        self.process = start(config, self.log_file)

    async def ports(self) -> tuple[int, int]:
        """Of gRPC and of metrics, once it is ready."""
        async with asyncio.timeout(_PROCESS_LIMIT_S):
            while not self.files.port.exists():
                assert self.process.poll() is None, self.log_file.read_text()
                await asyncio.sleep(0.02)
            metrics = port_of(self.files.metrics_port)
        await until_ready(metrics, 200)
        return port_of(self.files.port), metrics

    async def end(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, _PROCESS_LIMIT_S)

    def kill(self) -> None:
        """Whatever became of it."""
        self.process.kill()
        self.process.wait()


def channel(vault: RealVault, port: int, issued: IssuedCertificate) -> grpc.aio.Channel:
    """A bare channel with this certificate."""
    credentials = grpc.ssl_channel_credentials(
        vault.ca.root_file.read_bytes(),
        issued.key_file.read_bytes(),
        issued.certificate_file.read_bytes(),
    )
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials)


def operator_certificate(vault: RealVault) -> IssuedCertificate:
    """A caller's certificate like any other."""
    return vault.ca.issue(
        "operator", spiffe_id="spiffe://dev.tokenvault/operator", server=False, client=True
    )


async def check_health(bare: grpc.aio.Channel, service: str = "") -> health_pb2.HealthCheckResponse:
    """grpc.health.v1.Health/Check; AioRpcError."""
    method = bare.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    answer = await method(health_pb2.HealthCheckRequest(service=service), timeout=5)
    assert isinstance(answer, health_pb2.HealthCheckResponse)
    return answer


async def health(vault: RealVault, port: int, service: str = "") -> int:
    """What grpc.health.v1 says; SERVICE_UNKNOWN for a dependency that was not asked yet."""
    async with channel(vault, port, operator_certificate(vault)) as bare:
        try:
            answer = await check_health(bare, service)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        return int(answer.status)


async def wait_health(vault: RealVault, port: int, wanted: int, service: str = "") -> None:
    """Wait until it says so; TimeoutError."""
    async with asyncio.timeout(_LIMIT_S):
        while await health(vault, port, service) != wanted:
            await asyncio.sleep(_POLL_S)
