"""Running commands of the CLI for their JSON."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as one JSON value."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error on stderr; whatever was said before stands in other lines."""
        return json.loads(self.err.splitlines()[-1])["error"]


def run(*arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> Ended:
    """Run ``tokenvault`` with these arguments."""
    done = subprocess.run(
        [sys.executable, "-m", "vault_service", *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        input=stdin,
        check=False,
        env=dict(os.environ) | (env or {}),
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def run_json(*arguments: str, stdin: str = "") -> Ended:
    """The same with ``--output json``."""
    return run(*arguments, "--output", "json", stdin=stdin)


def wait_until_read(pipe: int) -> None:
    """The other side has read all that was written."""
    give_up = time.monotonic() + 30
    while struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))) != (0,):
        assert time.monotonic() < give_up
        time.sleep(0.02)
