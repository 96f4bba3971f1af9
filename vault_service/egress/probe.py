"""Whether a provider's host can be reached from here, and what its clock says. Sends one HEAD /.

Bound by the same rules of addresses and TLS as every request; no credential goes with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from vault_service.domain import limits
from vault_service.domain.errors import VaultError
from vault_service.egress.answer import TransportFailure
from vault_service.egress.client import tls_context
from vault_service.egress.endpoint import Endpoint
from vault_service.egress.guard import EgressGuard
from vault_service.egress.resolver import GuardedResolver

_HEAD_MAX_BYTES: Final = 16_384


async def server_time(url: str, guard: EgressGuard, ca_file: Path | None) -> float | None:
    """The Date of the host's answer in Unix seconds; None where it tells none.

    Raises TransportFailure with what is wrong.
    """
    try:
        endpoint = guard.endpoint(url)
        found = await GuardedResolver(guard).resolve(endpoint.host, endpoint.port)
        async with asyncio.timeout(limits.HTTP_CONNECT_LIMIT_S):
            head = await _head(endpoint, found[0]["host"], tls_context(ca_file))
    except VaultError as error:
        raise TransportFailure(False, error.message) from error
    except ssl.SSLCertVerificationError as error:
        raise TransportFailure(False, f"TLS: {error.verify_message}") from error
    except TimeoutError as error:
        raise TransportFailure(False, "nothing answers in time") from error
    except OSError as error:
        raise TransportFailure(False, error.strerror or "no connection") from error
    return _date(head)


async def _head(endpoint: Endpoint, address: str, tls: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection(
        address, endpoint.port, ssl=tls, server_hostname=endpoint.host, limit=_HEAD_MAX_BYTES
    )
    try:
        lines = ("HEAD / HTTP/1.1", f"Host: {endpoint.authority}", "Connection: close", "", "")
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _date(head: bytes) -> float | None:
    for line in head.decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "date":
            with contextlib.suppress(ValueError):
                return parsedate_to_datetime(value.strip()).timestamp()
    return None
