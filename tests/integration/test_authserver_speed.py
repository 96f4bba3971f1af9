"""The scripted authorization server is no bottleneck of the races and campaigns."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.authserver import CLIENT_ID, CLIENT_SECRET, AuthServerProcess, RemoteAuthServer
from tests.support.authserver.client import refresh_fields
from vault_service.embedded.devca import DevCA

_CLIENTS = 16
_KEPT_PER_S = 2_000
_NEW_PER_S = 500


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
    fields = {**refresh_fields(token), "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    body = urlencode(fields)
    writer.write(f"POST /token HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))


async def _load(port: int, tls: ssl.SSLContext, token: str, posts: int, each: int) -> None:
    """So many POSTs, ``each`` of them on one connection."""
    for _ in range(posts // each):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        for _ in range(each):
            await _ask(reader, writer, token)
        writer.transport.abort()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="CPU time is read from /proc")
@pytest.mark.parametrize(
    ("posts", "each", "per_s"), [(500, 500, _KEPT_PER_S), (40, 1, _NEW_PER_S)], ids=["kept", "new"]
)
async def test_token_requests_for_each_second_of_one_core(
    tmp_path: Path, posts: int, each: int, per_s: int
) -> None:
    """By the CPU time of the server, which other work on this machine does not change."""
    ca = DevCA(tmp_path)
    tls = ssl.create_default_context(cafile=str(ca.root_file))
    process = AuthServerProcess(tmp_path, ca)
    server: RemoteAuthServer
    with process as server:
        server.configure(refresh_class="N")
        families = server.new_families(_CLIENTS)
        before = _cpu_s(server.pid)
        await asyncio.gather(
            *(_load(server.port, tls, each_.refresh_token, posts, each) for each_ in families)
        )
        used_s = _cpu_s(server.pid) - before
        count = len(server.sent("refresh_token"))
    assert count == posts * _CLIENTS
    assert count / used_s >= per_s, f"{count} in {used_s} s of CPU"
