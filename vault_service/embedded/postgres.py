"""An embedded PostgreSQL: SCRAM on a private socket, no TCP, its own data folder.

``postgres_place`` says where its data lies and as whom it runs when root starts it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from vault_service.embedded import postgres_place, postgres_roles
from vault_service.embedded.child import Child
from vault_service.embedded.files import (
    Lock,
    make_state_dir,
    private_folder,
    secret_file,
    write_private,
)
from vault_service.embedded.machine import EmbeddedError, require_free_disk
from vault_service.embedded.postgres_binaries import (
    Binaries,
    find_binaries,
    reachable_binaries,
)
from vault_service.embedded.postgres_cluster import Cluster, environment
from vault_service.embedded.postgres_place import Place

_PORT: Final = 5_432  # only the number in the socket's name; each instance has its own folder
_START_LIMIT_S: Final = 60.0  # replay after a crash on a slow disk
_ORPHAN_LIMIT_S: Final = 20.0
_NEED_BYTES: Final = 256 * 1024 * 1024  # a new cluster has 40 MB, its log files grow to 100 MB
_STATUS_LINE: Final = 7  # of postmaster.pid, counted from 0: where pg_ctl looks
_CONNECTIONS_MAX: Final = 200
_SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0600",
    "shared_buffers": "32MB",
    "max_wal_size": "128MB",
    "log_min_messages": "warning",
}
StopMode = Literal["smart", "fast", "immediate"]
_SIGNALS: Final[dict[StopMode, signal.Signals]] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}


@dataclass(frozen=True, slots=True)
class PostgresHandle:
    """How to reach a running one."""

    socket_dir: Path
    port: int
    database: str
    superuser: str
    superuser_password_file: Path

    def password_file(self, role: str) -> Path:
        """The file (0600) with the password of one of the login roles."""
        return _password_file(self.superuser_password_file.parent, role)


class EmbeddedPostgres:
    """One server in one state directory; ``start`` and ``stop`` as often as wanted.

    ``durable=False`` leaves out fsync, for tests: what is committed survives a killed process,
    not a power cut.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        binaries: Path | None = None,
        durable: bool = True,
        connections_max: int = _CONNECTIONS_MAX,
    ) -> None:
        self._state_dir = state_dir.absolute()
        self._own = self._state_dir / "postgres"
        self._marker = self._own / "roles.sha256"
        self._given = binaries
        self._durable = durable
        self._connections_max = connections_max
        self._lock = Lock(self._own / "lock", "PostgreSQL")
        self._child: Child | None = None

    def start(self) -> PostgresHandle:
        """Start it, creating its cluster, roles and database the first time; returns when it
        takes connections. Raises EmbeddedError."""
        if self._child is not None and self._child.alive():
            return self._handle(postgres_place.find_place(self._own))
        make_state_dir(self._state_dir)
        private_folder(self._own, 0o711 if os.geteuid() == 0 else 0o700)
        self._lock.take()
        try:
            return self._start()
        except BaseException:
            self.stop("immediate")
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it: "fast" ends connections and writes everything out; "immediate" does not."""
        if self._child is not None:
            self._child.stop(stop_signal=_SIGNALS[mode])
        self._lock.release()

    def kill_immediately(self) -> None:
        """SIGKILL to the server and all its processes; the next start replays its log."""
        if self._child is not None:
            self._child.kill()
        self._lock.release()

    def pause(self) -> None:
        """All its processes hang: connections stay open and nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        """Undo ``pause``."""
        self._running().resume()

    def require_alive(self) -> None:
        """Raises EmbeddedError with the end of its log when it has died."""
        self._running().require_alive()

    def destroy(self) -> None:
        """Stop it and remove its data, also where that lies outside the state directory."""
        self.stop("immediate")
        if self._own.exists():
            postgres_place.forget_place(self._own)
            shutil.rmtree(self._own)

    def _start(self) -> PostgresHandle:
        place = postgres_place.find_place(self._own)
        found = find_binaries(self._given)
        binaries = reachable_binaries(found, place.run_as, postgres_place.root_base)
        _wait_for_orphan(place)
        initial = None
        # Without the marker it was never handed out: its making was interrupted.
        if not (self._marker.exists() and place.data.exists()):
            self._marker.unlink(missing_ok=True)
            require_free_disk(place.folder, _NEED_BYTES)
            initial = Cluster(binaries, place, self._own, durable=self._durable).make()
        _require_same_major(binaries, place)
        child = self._new_child(binaries, place)
        self._child = child
        child.start()
        child.wait_ready(lambda: _status(place, child.pid) == "ready", _START_LIMIT_S)
        self._ensure_roles(binaries, place, initial)
        return self._handle(place)

    def _new_child(self, binaries: Binaries, place: Place) -> Child:
        settings = _SETTINGS | {
            "unix_socket_directories": str(place.socket_dir),
            "max_connections": str(self._connections_max),
        }
        if not self._durable:
            settings["fsync"] = "off"
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Child(
            "PostgreSQL",
            [binaries.program("postgres"), "-D", str(place.data), "-p", str(_PORT), *options],
            log_file=self._own / "server.log",
            env=environment(place),
            cwd=place.folder,
            run_as=place.run_as,
            stop_signal=signal.SIGINT,
        )

    def _ensure_roles(self, binaries: Binaries, place: Place, initial: str | None) -> None:
        wanted = hashlib.sha256(postgres_roles.roles_sql().encode()).hexdigest()
        if self._marker.exists() and self._marker.read_text("ascii") == wanted:
            return
        roles = (*postgres_roles.LOGIN_ROLES, postgres_roles.SUPERUSER)
        passwords = {role: secret_file(_password_file(self._own, role)) for role in roles}
        pass_file = postgres_roles.write_pass_file(
            self._own / "pgpass", initial or passwords[postgres_roles.SUPERUSER]
        )
        psql = postgres_roles.Psql(binaries.program("psql"), place.socket_dir, _PORT, pass_file)
        try:
            postgres_roles.set_up(psql, passwords)
        finally:
            pass_file.unlink()
        write_private(self._marker, wanted)

    def _handle(self, place: Place) -> PostgresHandle:
        return PostgresHandle(
            socket_dir=place.socket_dir,
            port=_PORT,
            database=postgres_roles.DATABASE,
            superuser=postgres_roles.SUPERUSER,
            superuser_password_file=_password_file(self._own, postgres_roles.SUPERUSER),
        )

    def _running(self) -> Child:
        if self._child is None:
            raise EmbeddedError("PostgreSQL was not started")
        return self._child


def _password_file(own: Path, role: str) -> Path:
    return own / f"{role}.password"


def _status(place: Place, pid: int) -> str:
    """What the server says of itself in its pid file; "" while that is another's or not there."""
    try:
        lines = (place.data / "postmaster.pid").read_text("utf-8").splitlines()
    except OSError:
        return ""
    if len(lines) <= _STATUS_LINE or lines[0] != str(pid):
        return ""
    return lines[_STATUS_LINE].strip()


def _wait_for_orphan(place: Place) -> None:
    """A server whose supervisor was killed is stopping now; the lock says that it is no one's."""
    give_up = time.monotonic() + _ORPHAN_LIMIT_S
    while (pid := _orphan(place)) is not None:
        if time.monotonic() > give_up:
            raise EmbeddedError(
                f"a PostgreSQL (process {pid}) still runs in {place.data}; stop it with "
                f"`kill -INT {pid}` and start again"
            )
        time.sleep(0.05)


def _orphan(place: Place) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int((place.data / "postmaster.pid").read_text("utf-8").splitlines()[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if os.fsencode(place.data) in command:
            return pid
    return None


def _require_same_major(binaries: Binaries, place: Place) -> None:
    version = subprocess.run(
        [binaries.program("postgres"), "--version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_START_LIMIT_S,
    ).stdout
    made_by = (place.data / "PG_VERSION").read_text("ascii").strip()
    if f" {made_by}." not in version:
        raise EmbeddedError(
            f"the data in {place.data} is PostgreSQL {made_by}'s and the programs are "
            f"{version.strip() or 'unknown'}; install that version, or use another --state-dir"
        )
