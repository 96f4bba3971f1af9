"""Messages that are never parsed, or cannot be: refused with a reason, like any other call.

gRPC refuses a message over its own bound, and one that does not parse, without a reason and
without telling anybody. So its bound stands a little higher than ours, and what reads the bytes
never fails: it hands on an ``Unreadable``, which the handling refuses and puts on record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.errors import Reason, VaultError
from vault_service.rpc.fields import malformed


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In the place of a request."""

    size_bytes: int

    async def refuse(self, call: Call) -> NoReturn:
        """Raises PAYLOAD_TOO_LARGE or FIELD_MALFORMED."""
        if self.size_bytes > limits.MESSAGE_MAX_BYTES:
            raise VaultError(
                Reason.PAYLOAD_TOO_LARGE,
                f"a message has at most {limits.MESSAGE_MAX_BYTES} bytes, "
                f"a secret in it at most {limits.PAYLOAD_MAX_BYTES}",
            )
        raise malformed("message", f"is no request of {call.rpc}: client and proto differ")


def reader(parse: Callable[[bytes], Message]) -> Callable[[bytes], Message | Unreadable]:
    """A deserializer that never raises and never parses what is too large."""

    def read(data: bytes) -> Message | Unreadable:
        if len(data) > limits.MESSAGE_MAX_BYTES:
            return Unreadable(len(data))
        try:
            return parse(data)
        except DecodeError:
            return Unreadable(len(data))

    return read


class Bounded:
    """What the generated ``add_..._to_server`` needs of a server."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, generic_rpc_handlers: object) -> None:
        """The generated code names the same handlers once more below, where they can be read."""

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Any]
    ) -> None:
        """Adds each method with a reader of ours."""
        bounded = {name: _bounded(handler) for name, handler in method_handlers.items()}
        handlers = grpc.method_handlers_generic_handler(service_name, bounded)
        self._server.add_generic_rpc_handlers((handlers,))


def _bounded(handler: Any) -> Any:
    if handler.request_streaming or handler.response_streaming:
        return handler  # only unary handlers know what an Unreadable is
    return handler._replace(request_deserializer=reader(handler.request_deserializer))
