"""Where the embedded PostgreSQL keeps its data and its socket, and as whom it runs.

PostgreSQL refuses to run as root, so root starts it as another uid: one that no user has, from
the range that no system allocates from (60706 to 61183), the same at every start of one state
directory; no user is created. Its data lies in the state directory where that uid can enter it,
else in ``/var/lib/tokenvault-embedded/<hash of the state directory>`` (not in a temporary folder:
those are cleaned by age, and what is lost there are grants). What was chosen is remembered.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault_service.embedded.child import RunAs
from vault_service.embedded.files import private_folder, read_facts, write_facts
from vault_service.embedded.machine import EmbeddedError
from vault_service.embedded.postgres_binaries import can_enter

# systemd's table of uids calls 60706..61183 unused; below are its home users, above its dynamic
# ones. Not nobody: whatever else runs as nobody could read the data.
_UID_FIRST: Final = 60_706
_UID_COUNT: Final = 478
_BASES: Final = (Path("/var/lib/tokenvault-embedded"), Path("/var/tmp/tokenvault-embedded"))  # noqa: S108 - checked before use
_SOCKET_NAME_CHARS: Final = len("/.s.PGSQL.5432.lock")
_SOCKET_PATH_MAX_CHARS: Final = 100  # sockaddr_un has 108, some systems fewer
_FACTS: Final = "place.json"


@dataclass(frozen=True, slots=True)
class Place:
    """What is remembered of one embedded PostgreSQL."""

    run_as: RunAs | None
    folder: Path  # belongs to run_as, mode 0700
    socket_dir: Path  # the same

    @property
    def data(self) -> Path:
        """The cluster's data folder."""
        return self.folder / "data"


def find_place(own: Path) -> Place:
    """The place remembered in ``own`` (the folder ``postgres`` of a state directory), or a new
    one. Raises EmbeddedError where what is found is not ours."""
    facts = read_facts(own / _FACTS)
    run_as = _run_as(own, facts.get("uid"))
    folder = Path(facts["folder"]) if "folder" in facts else _choose_folder(own, run_as)
    if not facts and folder.parent != own and folder.exists():
        shutil.rmtree(folder)  # of a state directory that is gone, and its passwords with it
    _require_private(folder, run_as)
    remembered = Path(facts["socket_dir"]) if "socket_dir" in facts else None
    socket_dir = _socket_dir(folder, run_as, remembered)
    write_facts(
        own / _FACTS,
        {
            "uid": run_as.uid if run_as else None,
            "folder": str(folder),
            "socket_dir": str(socket_dir),
        },
    )
    return Place(run_as, folder, socket_dir)


def forget_place(own: Path) -> None:
    """Remove what ``find_place`` made, wherever it is."""
    facts = read_facts(own / _FACTS)
    for name in ("socket_dir", "folder"):
        if name in facts:
            shutil.rmtree(facts[name], ignore_errors=True)
    (own / _FACTS).unlink(missing_ok=True)


def root_base() -> Path:
    """A folder of root's that all can enter, for what another uid must reach."""
    for base in _BASES:
        try:
            base.mkdir(mode=0o755, exist_ok=True)
            found = base.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022:
            base.chmod(0o755)
            return base
    raise EmbeddedError(
        f"neither {_BASES[0]} nor {_BASES[1]} can be a folder of root's, which PostgreSQL needs "
        "when root starts it; run as an ordinary user, or use a --state-dir that all can enter"
    )


def _run_as(own: Path, remembered: int | None) -> RunAs | None:
    if os.geteuid() != 0:
        return None
    if remembered is not None:
        return RunAs(remembered, remembered)
    taken = {user.pw_uid for user in pwd.getpwall()}
    start = int.from_bytes(hashlib.sha256(os.fsencode(own)).digest()[:4], "big")
    for step in range(_UID_COUNT):
        uid = _UID_FIRST + (start + step) % _UID_COUNT
        if uid not in taken:
            return RunAs(uid, uid)
    raise EmbeddedError("no uid is free for PostgreSQL; run as an ordinary user")


def _choose_folder(own: Path, run_as: RunAs | None) -> Path:
    if run_as is None or can_enter(own):
        return own / "server"
    return root_base() / hashlib.sha256(os.fsencode(own)).hexdigest()[:16]


def _socket_dir(folder: Path, run_as: RunAs | None, remembered: Path | None) -> Path:
    inside = folder / "run"
    if _fits(inside):
        _require_private(inside, run_as)
        return inside
    if remembered is not None and remembered != inside and remembered.exists():
        _require_private(remembered, run_as)
        return remembered
    # A path in the state directory would be too long for a socket.
    roots = [Path(tempfile.gettempdir()), *(base.parent for base in _BASES[1:])]
    for root in roots:
        if _fits(root / "tokenvault-12345678") and (run_as is None or can_enter(root)):
            made = Path(tempfile.mkdtemp(dir=root, prefix="tokenvault-"))
            _give(made, run_as)
            return made
    raise EmbeddedError(
        f"the path {inside} is too long for a socket, and so are the temporary folders; use a "
        "shorter --state-dir"
    )


def _fits(socket_dir: Path) -> bool:
    return len(os.fsencode(socket_dir)) + _SOCKET_NAME_CHARS < _SOCKET_PATH_MAX_CHARS


def _require_private(folder: Path, run_as: RunAs | None) -> None:
    """Make it, or see that it is a directory of ``run_as`` that nobody else can enter."""
    if not os.path.lexists(folder):
        _give(private_folder(folder), run_as)
    found = folder.lstat()
    uid = run_as.uid if run_as else os.geteuid()
    private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077 == 0
    if not private or found.st_uid != uid:
        raise EmbeddedError(
            f"{folder} is not a private directory of uid {uid}; remove it, or use another "
            "--state-dir"
        )


def _give(folder: Path, run_as: RunAs | None) -> None:
    if run_as is None:
        return
    try:
        os.chown(folder, run_as.uid, run_as.gid)
    except OSError as error:
        raise EmbeddedError(
            f"root may not act as uid {run_as.uid} here ({error.strerror}), which PostgreSQL "
            "needs; run as an ordinary user"
        ) from error
