"""State directories for embedded servers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vault_service.embedded.files import make_state_dir


@contextmanager
def new_state_dir() -> Iterator[Path]:
    """A new one, gone afterwards.

    Not pytest's: PostgreSQL runs as another uid when this is root and cannot enter that one, and
    paths of sockets are short.
    """
    outer = Path(tempfile.mkdtemp(prefix="tv-"))
    outer.chmod(0o711)
    try:
        yield make_state_dir(outer / "state")
    finally:
        shutil.rmtree(outer, ignore_errors=True)
