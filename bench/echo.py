"""What a call costs before the vault does anything: grpc.aio with mTLS that answers a constant.

The same service name, messages, options, certificates and event loop as the service; the answer
has the size of a real one. ``--identity`` also reads ``auth_context()`` on each call, which no
server that knows its callers can leave out. Prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from tokenvault.v1 import token_service_pb2, token_service_pb2_grpc
from vault_service.rpc.server import OPTIONS


class Echo(token_service_pb2_grpc.TokenServiceServicer):
    def __init__(self, size_bytes: int, identity: bool) -> None:
        self._token = "x" * size_bytes
        self._identity = identity

    async def GetAccessToken(
        self,
        request: token_service_pb2.GetAccessTokenRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> token_service_pb2.GetAccessTokenResponse:
        if self._identity:
            context.auth_context()
        return token_service_pb2.GetAccessTokenResponse(access_token=self._token)


async def serve(options: argparse.Namespace) -> None:
    server = grpc.aio.server(options=OPTIONS)
    echo = Echo(options.size_bytes, options.identity)
    token_service_pb2_grpc.add_TokenServiceServicer_to_server(echo, server)
    pair = (options.key_file.read_bytes(), options.certificate_file.read_bytes())
    credentials = grpc.ssl_server_credentials(
        [pair], options.ca_file.read_bytes(), require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    whole = options.port_file.with_suffix(".new")
    whole.write_text(f"{port}\n")
    whole.rename(options.port_file)
    await server.wait_for_termination()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--identity", action="store_true")
    parser.add_argument("--size-bytes", type=int, required=True)
    for name in ("--port-file", "--key-file", "--certificate-file", "--ca-file"):
        parser.add_argument(name, type=Path, required=True)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
