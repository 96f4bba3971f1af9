"""Files of the state directory: whole or absent, for their owner only, one user at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vault_service.embedded.machine import EmbeddedError

_SECRET_BYTES: Final = 32
_SMALL_FILE_MAX_BYTES: Final = 65_536  # what we write ourselves is far below


def make_state_dir(path: Path) -> Path:
    """Create the state directory, or take one that is there and ours; returns it absolute.

    As root a new one gets mode 0711, so that PostgreSQL, which refuses to run as root, can reach
    its own folder inside as another uid; else 0700. The mode of an existing one is left alone.
    Raises EmbeddedError when it is someone else's or cannot be made.
    """
    path = path.absolute()
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
            path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        found = path.stat()
    except OSError as error:
        raise EmbeddedError(
            f"the state directory {path} cannot be made ({error.strerror}); use another --state-dir"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise EmbeddedError(f"{path} is not a directory; use another --state-dir")
    if found.st_uid != os.geteuid():
        raise EmbeddedError(
            f"the state directory {path} belongs to uid {found.st_uid} and this is uid "
            f"{os.geteuid()}; run as that user, or use another --state-dir"
        )
    return path


def write_private(path: Path, content: bytes | str) -> None:
    """Replace a file atomically, mode 0600, durable when this returns. Raises EmbeddedError."""
    data = content.encode() if isinstance(content, str) else content
    try:
        # mkstemp makes it 0600 from the first moment on.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise EmbeddedError(f"{path} cannot be written ({error.strerror})") from error


def private_folder(path: Path, mode: int = 0o700) -> Path:
    """Create a folder of ours with this mode unless it is there; returns it."""
    if not path.is_dir():
        path.mkdir(parents=True)
        path.chmod(mode)
    return path


def secret_file(path: Path) -> str:
    """The secret in the file, drawn from the system's generator the first time (43 characters)."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(_SECRET_BYTES))
    return path.read_text("ascii")


def read_facts(path: Path) -> dict[str, Any]:
    """The JSON object that was remembered in a file; empty when there is none."""
    try:
        with path.open("rb") as file:
            facts = json.loads(file.read(_SMALL_FILE_MAX_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EmbeddedError(
            f"{path} cannot be read; remove the state directory and start anew"
        ) from error
    if not isinstance(facts, dict):
        raise EmbeddedError(f"{path} holds no object; remove the state directory and start anew")
    return facts


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Remember facts for the next start."""
    write_private(path, json.dumps(facts, indent=1) + "\n")


def set_aside(log_file: Path, max_bytes: int) -> None:
    """Start a log anew when it has grown past this; the one before it is kept as ``.1``."""
    with contextlib.suppress(FileNotFoundError):
        if log_file.stat().st_size > max_bytes:
            os.replace(log_file, log_file.with_name(log_file.name + ".1"))


class Lock:
    """At most one process uses a folder; the kernel releases it when its holder dies."""

    def __init__(self, path: Path, whose: str) -> None:
        self._path = path
        self._whose = whose
        self._handle: int | None = None

    def take(self) -> None:
        """Raises EmbeddedError when another process has it."""
        if self._handle is not None:
            return
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise EmbeddedError(
                f"another process runs {self._whose} in {self._path.parent}; stop it first, or "
                "use another --state-dir"
            ) from error
        self._handle = handle

    def release(self) -> None:
        """Let others have it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
