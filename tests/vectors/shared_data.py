"""Where the vectors are: those of our own work beside this file, the others beside the project."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

OWN = Path(__file__).parent / "data"
_BESIDE = Path(__file__).parents[2].parent / "shared"
SHARED = Path(os.environ.get("TOKENVAULT_SHARED", _BESIDE)) / "data"


def own_vectors(name: str) -> Any:
    """A file that the repository brings along."""
    return json.loads((OWN / name).read_text())


def shared_vectors(name: str) -> Any:
    """A file of the shared folder; skips the test where the folder is absent."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"shared/data/{name} is not here: vectors of others are not in the repository")
    return json.loads(path.read_text())
