"""The gRPC surface in this process: a real server with mTLS over use cases with fakes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tests.fakes.traces import FakeTraces
from tests.support.house import House
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.embedded.devca import DevCA, IssuedCertificate
from vault_service.rpc.attempt_servicer import AttemptServicer
from vault_service.rpc.audit_servicer import AuditServicer
from vault_service.rpc.caller import CallerReader
from vault_service.rpc.grant_servicer import GrantServicer
from vault_service.rpc.handling import Handling
from vault_service.rpc.provider_servicer import ProviderServicer
from vault_service.rpc.secret_servicer import SecretServicer
from vault_service.rpc.server import Server, Servicers, TlsFiles
from vault_service.rpc.token_servicer import TokenServicer
from vault_service.rpc.webhook_servicer import WebhookServicer
from vault_service.telemetry.meters import RpcMeter
from vault_service.telemetry.metrics import Metrics
from vault_service.telemetry.traces import Traces

LIMIT_S = 10.0


class Pki:
    """A CA, the server's certificate, and callers' certificates as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.ca = DevCA(folder)
        issued = self.ca.issue("server", ips=["127.0.0.1"], server=True, client=False)
        self.tls = TlsFiles(issued.certificate_file, issued.key_file, self.ca.root_file)

    def caller(self, spiffe_id: str) -> IssuedCertificate:
        """A sound certificate of this caller."""
        name = "caller-" + spiffe_id.rsplit("/", 1)[-1]
        return self.ca.issue(name, spiffe_id=spiffe_id, server=False, client=True)

    def channel(
        self,
        port: int,
        issued: IssuedCertificate | None,
        root: Path | None = None,
        more: Sequence[tuple[str, int]] = (),
    ) -> grpc.aio.Channel:
        """A connection with this certificate, or without one."""
        credentials = grpc.ssl_channel_credentials(
            (root or self.ca.root_file).read_bytes(),
            issued.key_file.read_bytes() if issued else None,
            issued.certificate_file.read_bytes() if issued else None,
        )
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0), *more]
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)


@dataclass(frozen=True)
class Refused:
    """A refusal as it came over the wire."""

    code: grpc.StatusCode
    message: str
    request_id: str
    reason: str  # "" where it carried no ErrorInfo
    domain: str
    metadata: dict[str, str]
    retry_after_s: float | None


def refused_from(error: grpc.aio.AioRpcError) -> Refused:
    """What the trailing metadata says."""
    trailing = dict(error.trailing_metadata() or ())
    packed = trailing.get("grpc-status-details-bin", b"")
    status = status_pb2.Status.FromString(packed if isinstance(packed, bytes) else b"")
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    delay_s: float | None = None
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(retry):
            delay_s = retry.retry_delay.ToMilliseconds() / 1000
    if status.code:
        assert (status.code, status.message) == (error.code().value[0], error.details())
    return Refused(
        code=error.code(),
        message=error.details() or "",
        request_id=str(trailing.get("tokenvault-request-id", "")),
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
        retry_after_s=delay_s,
    )


class Surface:
    """One running server and the house behind it."""

    def __init__(self, house: House, pki: Pki, *, reflect: bool = False) -> None:
        self.house = house
        self.pki = pki
        self.metrics = Metrics()
        self.traces = FakeTraces()
        made = servicers(house, RpcMeter(self.metrics), self.traces)
        self.server = Server(made, pki.tls, reflect=reflect)
        self.port = 0
        self._channels: dict[str, grpc.aio.Channel] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Surface]:
        """Serve until the block ends."""
        self.port = await self.server.start("127.0.0.1", 0)
        try:
            yield self
        finally:
            for channel in self._channels.values():
                await channel.close()
            await self.server.stop(0)
            await self.house.flights.drain(0)

    def channel(self, spiffe_id: str) -> grpc.aio.Channel:
        """The connection of this caller."""
        if spiffe_id not in self._channels:
            self.keep(spiffe_id, self.pki.channel(self.port, self.pki.caller(spiffe_id)))
        return self._channels[spiffe_id]

    def keep(self, name: str, channel: grpc.aio.Channel) -> grpc.aio.Channel:
        """Close it with the server."""
        self._channels[name] = channel
        return channel

    async def call(
        self,
        stub: Callable[[grpc.aio.Channel], Any],
        method: str,
        request: Message,
        caller: str | grpc.aio.Channel,
        *,
        limit_s: float = LIMIT_S,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> tuple[Any, str]:
        """The answer and its request id; raises AioRpcError."""
        channel = self.channel(caller) if isinstance(caller, str) else caller
        under_way = getattr(stub(channel), method)(request, timeout=limit_s, metadata=metadata)
        if isinstance(under_way, grpc.aio.UnaryStreamCall):
            message = await self._first(under_way)
            return message, str(dict(await under_way.initial_metadata())["tokenvault-request-id"])
        answer = await under_way
        return answer, str(dict(await under_way.trailing_metadata())["tokenvault-request-id"])

    async def _first(self, stream: grpc.aio.UnaryStreamCall[Any, Any]) -> Any:
        """The first message of a stream, which is then left; its record has been written."""
        async for message in stream:
            stream.cancel()
            async with asyncio.timeout(LIMIT_S):
                while len(self.house.watches):
                    await asyncio.sleep(0.01)
            return message
        raise AssertionError("the stream ended without a message")

    async def refused(self, *asked: Any, **options: Any) -> Refused:
        """The refusal that the call must end with."""
        try:
            answer, _ = await self.call(*asked, **options)
        except grpc.aio.AioRpcError as error:
            return refused_from(error)
        raise AssertionError(f"answered {type(answer).__name__}")

    def refusals(self) -> list[AuditRecord]:
        """The records of refused calls."""
        return self.house.records(AuditAction.CALL_REFUSED)


def servicers(house: House, meter: RpcMeter, traces: Traces) -> Servicers:
    """The servicers over a house's use cases."""
    handling = Handling(
        callers=CallerReader(("example.org",), house.clock),
        refusals=house.refusals,
        clock=house.clock,
        entropy=house.entropy,
        meter=meter,
        traces=traces,
    )
    return Servicers(
        token=TokenServicer(handling, house.get_access_token, house.report),
        grant=GrantServicer(
            handling,
            start=house.start,
            complete=house.complete,
            read=house.read,
            revoke=house.revoke,
            delete=house.delete,
            aliases=house.aliases,
            watch=house.watch,
        ),
        provider=ProviderServicer(
            handling,
            house.providers,
            house.clients,
            house.client_credentials,
            house.suspend,
            house.holds,
        ),
        secret=SecretServicer(handling, house.secrets, house.read_secrets, house.destroy_secrets),
        webhook=WebhookServicer(handling, house.webhooks),
        attempt=AttemptServicer(handling, house.operated),
        audit=AuditServicer(handling, house.audit_records),
    )
