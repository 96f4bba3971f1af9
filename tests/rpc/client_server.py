"""A real mTLS server of the generated services that answers by script, for tests of the client."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tests.rpc.client_forms import Form
from tests.rpc.client_pki import Authority, Files
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
from tokenvault_client import TokenVaultClient

SERVICES: dict[str, tuple[ServiceDescriptor, type, Callable[..., None]]] = {
    "AuditService": (
        audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"],
        audit_service_pb2_grpc.AuditServiceServicer,
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
    ),
    "GrantService": (
        grant_service_pb2.DESCRIPTOR.services_by_name["GrantService"],
        grant_service_pb2_grpc.GrantServiceServicer,
        grant_service_pb2_grpc.add_GrantServiceServicer_to_server,
    ),
    "ProviderService": (
        provider_service_pb2.DESCRIPTOR.services_by_name["ProviderService"],
        provider_service_pb2_grpc.ProviderServiceServicer,
        provider_service_pb2_grpc.add_ProviderServiceServicer_to_server,
    ),
    "SecretService": (
        secret_service_pb2.DESCRIPTOR.services_by_name["SecretService"],
        secret_service_pb2_grpc.SecretServiceServicer,
        secret_service_pb2_grpc.add_SecretServiceServicer_to_server,
    ),
    "AttemptService": (
        attempt_service_pb2.DESCRIPTOR.services_by_name["AttemptService"],
        attempt_service_pb2_grpc.AttemptServiceServicer,
        attempt_service_pb2_grpc.add_AttemptServiceServicer_to_server,
    ),
    "WebhookService": (
        webhook_service_pb2.DESCRIPTOR.services_by_name["WebhookService"],
        webhook_service_pb2_grpc.WebhookServiceServicer,
        webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server,
    ),
    "TokenService": (
        token_service_pb2.DESCRIPTOR.services_by_name["TokenService"],
        token_service_pb2_grpc.TokenServiceServicer,
        token_service_pb2_grpc.add_TokenServiceServicer_to_server,
    ),
}


@dataclass(frozen=True)
class Refusal:
    """An answer of the error contract; without a reason there is no ErrorInfo."""

    code: grpc.StatusCode
    message: str = "no"
    reason: str = ""
    domain: str = "tokenvault"
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    request_id: str = ""

    def trailing(self) -> tuple[tuple[str, str | bytes], ...]:
        """Trailing metadata as the service sends it."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        if self.reason:
            info = error_details_pb2.ErrorInfo(
                reason=self.reason, domain=self.domain, metadata=self.metadata
            )
            status.details.add().Pack(info)
        if self.retry_after_s is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(round(self.retry_after_s * 1e9))
            status.details.add().Pack(retry)
        pairs: list[tuple[str, str | bytes]] = []
        if status.details:
            pairs.append(("grpc-status-details-bin", status.SerializeToString()))
        if self.request_id:
            pairs.append(("tokenvault-request-id", self.request_id))
        return tuple(pairs)


Act = Message | Refusal | Callable[[], Awaitable[Message | Refusal]]


@dataclass(frozen=True)
class Seen:
    """One attempt as the server saw it."""

    rpc: str
    request: Message
    peer: str
    time_remaining_s: float
    tls_version: bytes
    caller: bytes  # the client's certificate


class Script:
    """What each RPC answers, in turn; the last answer stays."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._acts: defaultdict[str, deque[Act]] = defaultdict(deque)

    def on(self, rpc: str, *acts: Act) -> None:
        """Sets the answers of "Service/Method"."""
        self._acts[rpc] = deque(acts)

    async def play(self, rpc: str, request: Message, context: Any) -> Message:
        """Answers one attempt."""
        tls = context.auth_context()
        tls_version, caller = tls["ssl_tls_version"][0], tls["x509_pem_cert"][0]
        self.seen.append(
            Seen(rpc, request, context.peer(), context.time_remaining(), tls_version, caller)
        )
        acts = self._acts[rpc]
        act = acts.popleft() if len(acts) > 1 else acts[0]
        answer = act if isinstance(act, Message | Refusal) else await act()
        if isinstance(answer, Refusal):
            await context.abort(answer.code, answer.message, answer.trailing())
        assert isinstance(answer, Message)
        return answer

    async def stream(self, rpc: str, request: Message, context: Any) -> None:
        """Writes what is next, up to and with a refusal; an answer that is the last one of the
        script keeps the stream open."""
        while True:
            last = len(self._acts[rpc]) == 1
            await context.write(await self.play(rpc, request, context))
            if last:
                await asyncio.Event().wait()


@dataclass(frozen=True)
class ScriptedServer:
    """The script, where it listens, and who may connect."""

    script: Script
    port: int
    authority: Authority
    caller: Files
    form: Form = Form.ASYNC

    def client(self, *, port: int | None = None, timeout_s: float = 5.0) -> TokenVaultClient:
        """A client with a good certificate."""
        return self.form.client(
            f"127.0.0.1:{port or self.port}",
            ca_file=self.authority.ca_file,
            certificate_file=self.caller.certificate,
            key_file=self.caller.key,
            timeout_s=timeout_s,
        )


def _servicer(base: type, service: ServiceDescriptor, script: Script) -> object:
    def method(rpc: str) -> Callable[..., Awaitable[Message]]:
        async def play(_: object, request: Message, context: Any) -> Message:
            return await script.play(rpc, request, context)

        return play

    def stream(rpc: str) -> Callable[..., Awaitable[None]]:
        async def play(_: object, request: Message, context: Any) -> None:
            await script.stream(rpc, request, context)

        return play

    methods = {
        each.name: (stream if each.server_streaming else method)(f"{service.name}/{each.name}")
        for each in service.methods
    }
    return type(base.__name__, (base,), methods)()


@asynccontextmanager
async def serve(
    authority: Authority,
    certificate: Files | None = None,
    caller: Files | None = None,
    form: Form = Form.ASYNC,
) -> AsyncIterator[ScriptedServer]:
    """Serves on a port of the system's choice until left; its clients are of ``form``."""
    certificate = certificate or authority.server()
    script = Script()
    server = grpc.aio.server()
    for descriptor, base, add in SERVICES.values():
        add(_servicer(base, descriptor, script), server)
    pair = (certificate.key.read_bytes(), certificate.certificate.read_bytes())
    port = server.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials([pair], authority.ca_file.read_bytes(), True),
    )
    await server.start()
    try:
        yield ScriptedServer(script, port, authority, caller or authority.caller(), form)
    finally:
        await server.stop(None)
