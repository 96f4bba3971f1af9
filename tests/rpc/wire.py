"""The rpc layer without sockets: the bytes of a request in, those of an answer or a refusal out.

What stands between is what the server registers: readers, servicers, handling, use cases on fakes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from tests.fakes.traces import FakeTraces
from tests.rpc.caller_certificates import Wanted, pem
from tests.rpc.surface import servicers
from tests.support.house import APP, House
from tokenvault.v1 import (
    attempt_service_pb2_grpc,
    audit_service_pb2_grpc,
    grant_service_pb2_grpc,
    provider_service_pb2_grpc,
    secret_service_pb2_grpc,
    token_service_pb2_grpc,
    webhook_service_pb2_grpc,
)
from vault_service.rpc.bounds import Bounded
from vault_service.rpc.status import REQUEST_ID_KEY, STATUS_KEY
from vault_service.telemetry.meters import RpcMeter
from vault_service.telemetry.metrics import Metrics

_CERTIFICATE = pem(Wanted(uris=(APP,)))


class Aborted(Exception):
    """What ``context.abort`` raises."""

    def __init__(self, code: grpc.StatusCode, message: str, trailing: dict[str, Any]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.trailing = trailing


@dataclass(frozen=True)
class Details:
    """Which method is looked up."""

    method: str
    invocation_metadata: tuple[()] = ()


class Context:
    """What the handling uses of grpc.aio.ServicerContext."""

    def __init__(self, certificate: bytes = _CERTIFICATE) -> None:
        self._certificate = certificate
        self.trailing: dict[str, Any] = {}

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"ssl_tls_version": [b"TLSv1.3"], "x509_pem_cert": [self._certificate]}

    def peer(self) -> str:
        return "ipv4:127.0.0.1:4711"

    def time_remaining(self) -> float | None:
        return None

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.trailing = dict(metadata)

    def invocation_metadata(self) -> tuple[()]:
        return ()

    async def abort(
        self, code: grpc.StatusCode, message: str, trailing: tuple[tuple[str, Any], ...]
    ) -> None:
        raise Aborted(code, message, dict(trailing))


class Wire:
    """All methods of one house's servicers."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._handlers: list[Any] = []
        bounded: Any = Bounded(self)  # type: ignore[arg-type]  # it registers here instead
        made = servicers(house, RpcMeter(Metrics()), FakeTraces())
        token_service_pb2_grpc.add_TokenServiceServicer_to_server(made.token, bounded)
        grant_service_pb2_grpc.add_GrantServiceServicer_to_server(made.grant, bounded)
        provider_service_pb2_grpc.add_ProviderServiceServicer_to_server(made.provider, bounded)
        secret_service_pb2_grpc.add_SecretServiceServicer_to_server(made.secret, bounded)
        webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server(made.webhook, bounded)
        attempt_service_pb2_grpc.add_AttemptServiceServicer_to_server(made.attempt, bounded)
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(made.audit, bounded)

    def add_generic_rpc_handlers(self, handlers: tuple[Any, ...]) -> None:
        """As grpc.aio.Server."""
        self._handlers.extend(handlers)

    async def call(self, path: str, data: bytes, context: Context | None = None) -> bytes:
        """The answer's bytes; raises ``Aborted`` for a refusal and nothing else."""
        context = context or Context()
        handler = next(filter(None, (each.service(Details(path)) for each in self._handlers)))
        answer: Message = await handler.unary_unary(handler.request_deserializer(data), context)
        assert context.trailing[REQUEST_ID_KEY]
        return bytes(handler.response_serializer(answer))


def status_of(aborted: Aborted) -> bytes:
    """The google.rpc.Status of a refusal."""
    return bytes(aborted.trailing[STATUS_KEY])
