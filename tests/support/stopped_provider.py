"""``python -m tests.support.stopped_provider SERVER_PEM``: a provider in a process of its own that
stops itself (SIGSTOP) when it has got its second refresh, and answers when it is continued.

Prints its port, and then a JSON line for each request before it answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from urllib.parse import parse_qs

from tests.fakes.https_server import DevCertificates, Request, Server, reply, serve


async def main() -> None:
    """Until its input ends."""
    server_file = Path(sys.argv[1])
    refresh_tokens: list[str] = []

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        refresh_tokens.extend(parse_qs(request.body.decode())["refresh_token"])
        said = {"refresh_token": refresh_tokens[-1], "connections": state.connections}
        print(json.dumps(said), flush=True)
        number = len(refresh_tokens)
        if number == 2:
            os.kill(os.getpid(), signal.SIGSTOP)
        tokens = {"access_token": f"late-at-{number}", "refresh_token": f"late-rt-{number}"}
        await reply(json.dumps({**tokens, "expires_in": 3_600}).encode())(request, writer)

    state: Server
    async with serve(behave, DevCertificates(server_file, server_file)) as state:
        print(state.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
