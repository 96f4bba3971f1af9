"""A server as a process: endpoints on --port, the control plane where --port-file says."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from pathlib import Path

from tests.support.authserver.faults import Answer
from tests.support.authserver.listener import Listener, tls_context
from tests.support.authserver.operations import Operations, answer_control
from tests.support.authserver.service import Request, Service


async def serve(options: argparse.Namespace) -> None:
    """Until SIGTERM or SIGINT."""
    service = Service(prefix=str(options.port), ledger_file=options.ledger_file, seed=options.seed)
    tls = tls_context(options.certificate_file, options.key_file)
    listener = Listener(service, tls, options.port)
    operations = Operations(service, listener)

    async def control(request: Request) -> Answer:
        return await answer_control(operations, request)

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    control_port = await listener.up_control(control)
    await listener.up()
    ports = {"port": options.port, "control_port": control_port, "pid": os.getpid()}
    unfinished = options.port_file.with_suffix(".new")
    unfinished.write_text(json.dumps(ports))
    unfinished.rename(options.port_file)
    await ended.wait()
    listener.close()


def main() -> None:
    """Parse and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.authserver")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate-file", type=Path, required=True)
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--port-file", type=Path, required=True, help="JSON, written when ready")
    parser.add_argument("--ledger-file", type=Path, help="JSON lines, appended")
    parser.add_argument("--seed", type=int, default=0, help="of the rules' chances")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
