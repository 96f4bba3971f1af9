"""The client's three files, read again after they changed on disk."""

from __future__ import annotations

import logging
from typing import Final

import grpc

from tokenvault_client._limits import LOOK_PAUSE_S
from tokenvault_client._settings import Settings
from tokenvault_client.errors import ConfigurationError

_LOG: Final = logging.getLogger("tokenvault_client")

_Stamp = tuple[tuple[int, ...] | None, ...]


class Certificates:
    """The credentials of the next connection. Not for several threads at once.

    Files that do not fit together (a renewal replaces them one after the other) leave the last
    ones that did in place; the log says so once, and the next look tries again.
    """

    def __init__(self, settings: Settings, now_s: float) -> None:
        """Raises ConfigurationError where the files cannot be used."""
        self._settings = settings
        # Before the reading: what is written meanwhile differs from it and is read again.
        self._stamp = _stamp(settings)
        self._refused: _Stamp | None = None
        self._looked_s = now_s
        self.credentials: grpc.ChannelCredentials = settings.credentials()

    def changed(self, now_s: float) -> bool:
        """Whether ``credentials`` are new since the last call; looks at most once a second."""
        if now_s - self._looked_s < LOOK_PAUSE_S:
            return False
        self._looked_s = now_s
        stamp = _stamp(self._settings)
        if stamp == self._stamp:
            return False
        try:
            credentials = self._settings.credentials()
        except ConfigurationError as fault:
            if stamp != self._refused:
                _LOG.warning("changed files are not used, the earlier ones are: %s", fault)
            self._refused = stamp
            return False
        if stamp != _stamp(self._settings):
            return False
        self._stamp, self.credentials = stamp, credentials
        return True


def _stamp(settings: Settings) -> _Stamp:
    """What differs after a file was written, renamed into place or linked anew."""
    stamps: list[tuple[int, ...] | None] = []
    for file in (settings.ca_file, settings.certificate_file, settings.key_file):
        try:
            seen = file.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append(
                (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
            )
    return tuple(stamps)
