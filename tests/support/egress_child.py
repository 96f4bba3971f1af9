"""``python -m tests.support.egress_child``: the real HTTP client against every hostile URL, in a
process that counts what the kernel sends and what the interpreter asks of it. Prints JSON.

Exit 77: this system lets nobody have a network of its own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path

from tests.fakes.hostile_urls import HOSTILE_URLS
from tests.support import all_addresses
from vault_service.egress.answer import TransportFailure
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard

PUBLIC = "8.8.8.8"
_ANSWERS: tuple[list[str], ...] = (
    ["127.0.0.1"], ["::1"], ["169.254.169.254"], [PUBLIC, "10.0.0.1"], ["fd00:ec2::254", PUBLIC],
    ["64:ff9b::a9fe:a9fe"], [],
)  # fmt: skip
_WATCHED = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
            "socket.gethostbyname", "subprocess.Popen", "os.posix_spawn")  # fmt: skip
_LIMIT_S = 2.0


class Watched:
    """Who was dialled, as the one who was sees it; and what the interpreter was asked for."""

    def __init__(self) -> None:
        self.dialled: list[str] = []
        self.asked: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[object, ...]) -> None:
        if event in _WATCHED:
            self.asked.append(f"{event} {args[1:]!r}")

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Every connection, whatever address it was for."""
        self.dialled.append(writer.get_extra_info("sockname")[0].removeprefix("::ffff:"))
        writer.close()

    def since(self, before: tuple[int, int, int]) -> dict[str, object]:
        """What happened after ``mark``."""
        return {
            "packets": all_addresses.packets() - before[0],
            "dialled": self.dialled[before[1] :],
            "asked": self.asked[before[2] :],
        }

    def mark(self) -> tuple[int, int, int]:
        """This moment."""
        return all_addresses.packets(), len(self.dialled), len(self.asked)


async def _post(client: HttpClient, url: str) -> bool:
    """Whether the client says that something was sent."""
    try:
        await client.post_form(url, {"refresh_token": "never"}, limit_s=_LIMIT_S)
    except TransportFailure as failure:
        return failure.sent
    return True


async def _hostile(port: int) -> int:
    """Every URL with every answer of the resolver; returns how many were sent."""
    sent = 0
    for answer in _ANSWERS:

        async def lookup(host: str, port: int, answer: list[str] = answer) -> list[str]:
            return answer

        client = HttpClient(EgressGuard(), lookup=lookup)
        for template in HOSTILE_URLS.values():
            sent += await _post(client, template.replace("{port}", str(port)))
        await client.close()
    return sent


async def _rebinding(port: int, answers: list[list[str]]) -> None:
    """One name, looked up once for each request; each time another answer."""
    left = list(answers)

    async def lookup(host: str, port: int) -> list[str]:
        return left.pop(0)

    client = HttpClient(EgressGuard(), lookup=lookup)
    for _ in answers:
        await _post(client, f"https://rebinding.example:{port}/token")
    await client.close()


async def main() -> None:
    """Three phases, each measured by itself."""
    watched = Watched()
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server = await asyncio.start_server(watched.accept, sock=listener)
    port = listener.getsockname()[1]
    result: dict[str, object] = {"tried": len(HOSTILE_URLS) * len(_ANSWERS)}
    start = watched.mark()
    result["sent"] = await _hostile(port)
    await asyncio.sleep(0.05)
    result["hostile"] = watched.since(start)

    start = watched.mark()
    await _rebinding(port, [["127.0.0.1"], ["10.0.0.1", PUBLIC], ["169.254.169.254"]])
    await asyncio.sleep(0.05)
    result["rebound"] = watched.since(start)

    start = watched.mark()
    await _rebinding(port, [[PUBLIC], ["127.0.0.1"], ["10.0.0.1"]])
    await asyncio.sleep(0.05)
    result["rebinding"] = watched.since(start)
    server.close()
    print(json.dumps(result))


if __name__ == "__main__":
    try:
        all_addresses.enter()
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(77)
    # Now 169.254.169.254 and 8.8.8.8 are both this process.
    assert Path("/proc/self/net/dev").exists()
    asyncio.run(main())
