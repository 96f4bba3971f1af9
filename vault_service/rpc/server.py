"""The gRPC server: mTLS with certificates that reload from disk, bounds, health, reflection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tokenvault.v1 import (
    attempt_service_pb2,
    attempt_service_pb2_grpc,
    audit_service_pb2,
    audit_service_pb2_grpc,
    grant_service_pb2,
    grant_service_pb2_grpc,
    provider_service_pb2,
    provider_service_pb2_grpc,
    secret_service_pb2,
    secret_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
)
from vault_service.domain import limits
from vault_service.rpc.attempt_servicer import AttemptServicer
from vault_service.rpc.audit_servicer import AuditServicer
from vault_service.rpc.bounds import Bounded
from vault_service.rpc.grant_servicer import GrantServicer
from vault_service.rpc.health import HealthServicer
from vault_service.rpc.provider_servicer import ProviderServicer
from vault_service.rpc.secret_servicer import SecretServicer
from vault_service.rpc.token_servicer import TokenServicer
from vault_service.rpc.webhook_servicer import WebhookServicer

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", limits.TRANSPORT_MAX_BYTES),
    ("grpc.max_metadata_size", limits.METADATA_MAX_BYTES),
    ("grpc.absolute_max_metadata_size", limits.METADATA_MAX_BYTES),
    ("grpc.max_concurrent_streams", limits.STREAMS_MAX),
    # SO_REUSEPORT balances connections, not calls: connections have an age.
    ("grpc.max_connection_age_ms", limits.CONNECTION_AGE_S * 1000),
    ("grpc.max_connection_age_grace_ms", limits.CONNECTION_AGE_GRACE_S * 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", limits.PING_INTERVAL_MIN_S * 1000),
    ("grpc.http2.max_ping_strikes", 2),
)

_SERVICES = (
    token_service_pb2.DESCRIPTOR.services_by_name["TokenService"].full_name,
    grant_service_pb2.DESCRIPTOR.services_by_name["GrantService"].full_name,
    provider_service_pb2.DESCRIPTOR.services_by_name["ProviderService"].full_name,
    secret_service_pb2.DESCRIPTOR.services_by_name["SecretService"].full_name,
    webhook_service_pb2.DESCRIPTOR.services_by_name["WebhookService"].full_name,
    attempt_service_pb2.DESCRIPTOR.services_by_name["AttemptService"].full_name,
    audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name,
    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
)

RPCS = tuple(
    f"{service.name}/{method.name}"
    for module in (
        token_service_pb2,
        grant_service_pb2,
        provider_service_pb2,
        secret_service_pb2,
        attempt_service_pb2,
        audit_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
"""Every RPC of ours, as ``Call.rpc`` names it."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of the server: its chain, its key, and the CAs of callers."""

    certificate_file: Path
    key_file: Path
    client_ca_file: Path


@dataclass(frozen=True, slots=True)
class Servicers:
    """One of each."""

    token: TokenServicer
    grant: GrantServicer
    provider: ProviderServicer
    secret: SecretServicer
    webhook: WebhookServicer
    attempt: AttemptServicer
    audit: AuditServicer


class Server:
    """Listens once started; ``health`` starts as NOT_SERVING."""

    def __init__(self, servicers: Servicers, tls: TlsFiles, *, reflect: bool) -> None:
        self._server = grpc.aio.server(options=OPTIONS)
        self._health = HealthServicer()
        self._tls = tls
        bounded = cast("grpc.aio.Server", Bounded(self._server))
        token_service_pb2_grpc.add_TokenServiceServicer_to_server(servicers.token, bounded)
        grant_service_pb2_grpc.add_GrantServiceServicer_to_server(servicers.grant, bounded)
        provider_service_pb2_grpc.add_ProviderServiceServicer_to_server(servicers.provider, bounded)
        secret_service_pb2_grpc.add_SecretServiceServicer_to_server(servicers.secret, bounded)
        webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server(servicers.webhook, bounded)
        attempt_service_pb2_grpc.add_AttemptServiceServicer_to_server(servicers.attempt, bounded)
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(servicers.audit, bounded)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if reflect:
            names = (*_SERVICES, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

    async def start(self, host: str, port: int) -> int:
        """Bind and serve; returns the port (the system's choice for 0). OSError when taken."""
        # The library's own start is SERVING.
        for name in ("", *_SERVICES[:-1]):
            await self._health.set(name, _STATUS[False])
        address = _address(host, port)
        try:
            bound = self._server.add_secure_port(address, _credentials(self._tls))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: is the port taken?") from error
        await self._server.start()
        return bound

    async def set_health(self, dependencies: dict[str, bool]) -> None:
        """The state of each dependency ("database", "transit"), and of the whole as service ""."""
        for name, up in dependencies.items():
            await self._health.set(f"dependency.{name}", _STATUS[up])
        whole = _STATUS[all(dependencies.values())]
        for name in ("", *_SERVICES[:-1]):
            await self._health.set(name, whole)

    async def announce_stop(self) -> None:
        """Say NOT_SERVING from now on, whatever ``set_health`` says; calls are still taken."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Say NOT_SERVING, take no new calls, give those under way ``grace_s``."""
        await self.announce_stop()
        self._health.end_watches()
        await self._server.stop(grace_s)


_STATUS = {
    True: health_pb2.HealthCheckResponse.SERVING,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
}


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """mTLS. The files are read again for a new connection when they have changed."""
    seen: list[tuple[float, ...]] = [_marks(tls)]

    def reload() -> grpc.ServerCertificateConfiguration | None:
        try:
            marks = _marks(tls)
            if marks == seen[0]:
                return None
            configuration = _configuration(tls)
        except OSError:
            return None  # in the middle of a replacement: the old ones serve on
        seen[0] = marks
        return configuration

    # None says "unchanged" (the function's documentation); the stubs do not know it.
    fetcher = cast("Callable[[], grpc.ServerCertificateConfiguration]", reload)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(tls), fetcher, require_client_authentication=True
    )


def _marks(tls: TlsFiles) -> tuple[float, ...]:
    files = (tls.certificate_file, tls.key_file, tls.client_ca_file)
    return tuple(file.stat().st_mtime_ns for file in files)


def _configuration(tls: TlsFiles) -> grpc.ServerCertificateConfiguration:
    pair = (tls.key_file.read_bytes(), tls.certificate_file.read_bytes())
    return grpc.ssl_server_certificate_configuration([pair], tls.client_ca_file.read_bytes())
