"""The files of the repository, found without git so that an archive of it can be tested too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "clients" / "python" / "tokenvault"

# Hidden folders are caches, state and environments, but for the ones that are committed.
_HIDDEN_BUT_OURS = {".ci", ".github"}
_NEVER_OURS = {"node_modules", "__pycache__", "build", "dist"}


def files() -> Iterator[Path]:
    """Every file of ours, generated code included."""
    for folder, names, found in os.walk(ROOT):
        names[:] = sorted(name for name in names if _is_ours(Path(folder) / name))
        # In a linked work tree .git is a file.
        yield from (Path(folder) / name for name in sorted(found) if name != ".git")


def python_files() -> list[Path]:
    """Every Python file that a person wrote."""
    return [path for path in files() if path.suffix == ".py" and GENERATED not in path.parents]


def shown(path: Path) -> str:
    """The path as it stands in the repository."""
    return path.relative_to(ROOT).as_posix()


def _is_ours(folder: Path) -> bool:
    if folder.name in _NEVER_OURS or folder.name.endswith(".egg-info"):
        return False
    # A virtual environment may have any name.
    if (folder / "pyvenv.cfg").exists():
        return False
    return not folder.name.startswith(".") or folder.name in _HIDDEN_BUT_OURS
