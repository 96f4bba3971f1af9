"""One supervised child process, which does not outlive us.

It starts in a session of its own, so that Ctrl-C in the terminal reaches only us and we stop the
children in order, and with PR_SET_PDEATHSIG, so that it ends when we are killed. Linux ties that
to the *thread* that started it: start children from a thread that lives as long as they should.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from vault_service.embedded import processes
from vault_service.embedded.files import set_aside
from vault_service.embedded.machine import EmbeddedError

STOP_LIMIT_S: Final = 15.0  # a server that flushes its state on a slow disk
_LEASH: Final = Path(__file__).with_name("leash.py")
_POLL_S: Final = 0.02
_LOG_MAX_BYTES: Final = 16 * 1024 * 1024  # then it is set aside at the next start
_TAIL_BYTES: Final = 8_192
_TAIL_LINES: Final = 12
_OVERLOADED: Final = "the machine may be overloaded: try again"
_ADVICE: Final = {
    "No space left on device": "the disk is full: free some space and start again",
    "ddress already in use": "a port is taken: stop the other process, or use another --state-dir",
    "Permission denied": "a file or folder cannot be reached: run as the user who owns the state "
    "directory, or use another --state-dir",
}


@dataclass(frozen=True, slots=True)
class RunAs:
    """Whose rights a child gets."""

    uid: int
    gid: int


class Child:
    """A program, its log file, and its life."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log_file: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        run_as: RunAs | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log_file = log_file
        self._argv = list(argv)
        self._env = dict(env) if env is not None else None
        self._cwd = cwd
        self._run_as = run_as
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """Its process id. Raises EmbeddedError before the start."""
        if self._process is None:
            raise EmbeddedError(f"{self.name} was not started")
        return self._process.pid

    def start(self) -> None:
        """Start it; whether it works is what ``wait_ready`` finds out."""
        if self.alive():
            raise EmbeddedError(f"{self.name} runs already")
        set_aside(self.log_file, _LOG_MAX_BYTES)
        try:
            with _open_log(self.log_file) as log:
                self._log_start = os.fstat(log.fileno()).st_size
                self._process = subprocess.Popen(
                    self._leashed(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,
                )
        except OSError as error:
            raise EmbeddedError(f"{self.name} cannot be started: {error.strerror}") from error

    def alive(self) -> bool:
        """Whether it runs (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    def wait_ready(self, probe: Callable[[], bool], limit_s: float) -> None:
        """Return when ``probe`` says yes. Raises EmbeddedError at once when the child dies, and
        after ``limit_s``; the message has the last lines of its log and what to do."""
        give_up = time.monotonic() + limit_s
        while True:
            if not self.alive():
                raise EmbeddedError(self._obituary())
            if probe():
                return
            if time.monotonic() > give_up:
                raise EmbeddedError(
                    f"{self.name} was not ready within {limit_s:g} s"
                    + self._tail_and_advice(_OVERLOADED)
                )
            time.sleep(_POLL_S)

    def run(self, limit_s: float) -> None:
        """Start a program that ends by itself, and wait for it. Raises EmbeddedError when it fails
        or is not done after ``limit_s``."""
        self.start()
        process = self._process
        assert process is not None
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise EmbeddedError(
                f"{self.name} was not done within {limit_s:g} s"
                + self._tail_and_advice(_OVERLOADED)
            ) from None
        if status != 0:
            raise EmbeddedError(self._obituary())

    def require_alive(self) -> None:
        """Raises EmbeddedError with the last lines of the log when it has died."""
        if not self.alive():
            raise EmbeddedError(self._obituary())

    def stop(
        self, limit_s: float = STOP_LIMIT_S, stop_signal: signal.Signals | None = None
    ) -> None:
        """Ask it to stop, and kill it with all its children when it has not after ``limit_s``."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        processes.send(process.pid, stop_signal or self._stop_signal)
        processes.continue_all(process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(limit_s)
            return
        self.kill()

    def kill(self) -> None:
        """SIGKILL to it and all its children: what a power cut does to a process."""
        if self._process is not None and self._process.poll() is None:
            processes.kill_all(self._process.pid)
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP to it and all its children: it hangs, its connections stay open."""
        self.require_alive()
        processes.stop_all(self.pid)

    def resume(self) -> None:
        """Undo ``pause``."""
        self.require_alive()
        processes.continue_all(self.pid)

    def log_tail(self) -> str:
        """The last lines it has logged since this start."""
        try:
            with self.log_file.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - _TAIL_BYTES))
                lines = log.read(_TAIL_BYTES).decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-_TAIL_LINES:])

    def _leashed(self) -> list[str]:
        as_whom = self._run_as or RunAs(-1, -1)
        return [
            *(sys.executable, "-I", "-S", str(_LEASH)),
            *(str(int(self._stop_signal)), str(os.getpid())),
            *(str(as_whom.uid), str(as_whom.gid)),
            *self._argv,
        ]

    def _obituary(self) -> str:
        status = self._process.returncode if self._process is not None else None
        if status is None:
            how = "was not started"
        elif status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        else:
            how = f"stopped with exit status {status}"
        return f"{self.name} {how}" + self._tail_and_advice("see its log")

    def _tail_and_advice(self, otherwise: str) -> str:
        tail = self.log_tail()
        advice = next((advice for sign, advice in _ADVICE.items() if sign in tail), otherwise)
        shown = "\n  ".join(tail.splitlines()) or "(empty)"
        return f"; {advice}. The end of {self.log_file}:\n  {shown}"


def _open_log(log_file: Path) -> BinaryIO:
    return os.fdopen(os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")
