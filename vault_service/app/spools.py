"""What an operator does with the spools of this host, without the service."""

from __future__ import annotations

from pathlib import Path

from vault_service.adapters.spool import rescue
from vault_service.adapters.spool.rescue import SeenEntry, SeenSpool, SpoolRefused

__all__ = ["SeenEntry", "SeenSpool", "SpoolRefused", "bring", "look"]


def look(folder: Path) -> list[SeenSpool]:
    """The spools of a folder, with what is in them but never what came back. SpoolRefused."""
    try:
        return rescue.look(folder)
    except OSError as error:
        raise SpoolRefused(f"{folder} cannot be read: {error.strerror}") from error


def bring(source: Path, folder: Path) -> list[SeenSpool]:
    """Copy what has entries from a rescued folder into the service's. SpoolRefused."""
    try:
        return rescue.bring(source, folder)
    except OSError as error:
        raise SpoolRefused(f"nothing was taken over from here on: {error}") from error
