"""Until when a certificate on disk is good."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509


class CertificateEnd:
    """The end of the first certificate in a PEM file, read again when the file has changed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._mark: tuple[int, int] | None = None
        self._end_s: float | None = None

    def unix_s(self) -> float | None:
        """Seconds since 1970 (UTC); None while the file cannot be read as a certificate."""
        try:
            found = self._file.stat()
            mark = (found.st_mtime_ns, found.st_ino)
            if mark != self._mark:
                leaf = x509.load_pem_x509_certificate(self._file.read_bytes())
                self._mark, self._end_s = mark, leaf.not_valid_after_utc.timestamp()
        except (OSError, ValueError):
            self._mark = self._end_s = None
        return self._end_s
