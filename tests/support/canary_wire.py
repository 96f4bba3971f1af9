"""Calls whose every answer is kept, but for the secret that it is there to carry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tests.support.canaries import Canaries
from tests.support.vault import RealVault
from tokenvault.v1 import options_pb2

_LIMIT_S = 15.0
APP, OPERATOR, AUDITOR, THIEF = "calendar-app", "operator", "auditor", "thief"
ALLOWED = "OK"


class Wire:
    """Connections to one process. ``outcomes``: what each RPC was answered with so far."""

    def __init__(self, vault: RealVault, port: int, canaries: Canaries, replies: Path) -> None:
        self.canaries = canaries
        self.outcomes: defaultdict[str, set[str]] = defaultdict(set)
        self.port = port
        self.states: set[str] = set()
        self._vault = vault
        self._replies = replies
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def close(self) -> None:
        """End the connections."""
        for channel in self._channels.values():
            await channel.close()

    async def ask(
        self,
        stub: Callable[[grpc.aio.Channel], Any],
        method: str,
        request: Message,
        caller: str = APP,
        *,
        damaged: bool = False,
        limit_s: float = _LIMIT_S,
    ) -> Any:
        """The answer, None where it was refused. A canary is in the metadata of every call;
        ``damaged`` sends bytes that do not parse."""
        channel = self._channel(caller)
        call: Any = getattr(stub(channel), method)
        sent: Any = request
        if damaged:
            call = channel.unary_unary(call._method)
            sent = request.SerializeToString() + b"\xff"
        metadata = (("authorization", f"Bearer {self.canaries.mint('metadata')}"),)
        try:
            answer = await self._answer(call(sent, timeout=limit_s, metadata=metadata))
        except grpc.aio.AioRpcError as error:
            self._keep_refusal(method, error)
            return None
        self.outcomes[method].add(ALLOWED)
        shown = type(answer)()
        shown.CopyFrom(answer)
        _clear_secrets(shown)
        self._keep(method, str(shown), shown.SerializeToString())
        return answer

    @staticmethod
    async def _answer(call: Any) -> Any:
        """Of a stream its first message: after it the caller hangs up."""
        if not isinstance(call, grpc.aio.UnaryStreamCall):
            return await call
        first = await call.read()
        assert first is not grpc.aio.EOF, "a stream ends with a reason"
        call.cancel()
        return first

    def _channel(self, caller: str) -> grpc.aio.Channel:
        if caller not in self._channels:
            issued = self._vault.ca.issue(
                caller, spiffe_id=f"spiffe://dev.tokenvault/{caller}", server=False, client=True
            )
            credentials = grpc.ssl_channel_credentials(
                self._vault.ca.root_file.read_bytes(),
                issued.key_file.read_bytes(),
                issued.certificate_file.read_bytes(),
            )
            self._channels[caller] = grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials)
        return self._channels[caller]

    def _keep_refusal(self, method: str, error: grpc.aio.AioRpcError) -> None:
        trailing = dict(error.trailing_metadata() or ())
        packed = trailing.get("grpc-status-details-bin", b"")
        assert isinstance(packed, bytes)
        status, info = status_pb2.Status.FromString(packed), error_details_pb2.ErrorInfo()
        if status.details:
            status.details[0].Unpack(info)
        self.outcomes[method].add(info.reason or error.code().name)
        text = f"{error.code()} {error.details()} {trailing} {error.debug_error_string()}"
        self._keep(method, text, packed)

    def _keep(self, method: str, text: str, data: bytes) -> None:
        with self._replies.open("ab") as file:
            file.write(f"{method}: {text}\n".encode() + data + b"\n")


def _clear_secrets(message: Message) -> None:
    """Only the top of an answer has fields marked sensitive."""
    for field in message.DESCRIPTOR.fields:
        if field.GetOptions().Extensions[options_pb2.sensitive]:
            message.ClearField(field.name)
