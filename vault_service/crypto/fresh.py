"""Random bytes that are refused when their source is visibly stuck."""

from __future__ import annotations

import hashlib

from vault_service.domain.errors import Reason, VaultError
from vault_service.ports import Entropy


class FreshBytes:
    """Draws keys and message ids.

    A generator that repeats itself would give two envelopes one message key. Only the plain
    failures show from here: the same draw twice in a row, or one byte over and over. A sound
    source does either with a chance below 2^-240 per draw of 32 bytes.
    """

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        # A digest, because the last draw may have been a DEK that is to be forgotten.
        self._last_digest = b""

    def take(self, size_bytes: int) -> bytes:
        """Random bytes; raises INTERNAL when the source is stuck or short."""
        drawn = self._entropy.token(size_bytes)
        digest = hashlib.sha256(drawn).digest()
        if len(drawn) != size_bytes or len(set(drawn)) < 2 or digest == self._last_digest:
            raise VaultError(
                Reason.INTERNAL,
                "the system's random generator repeats itself; stop this process and replace "
                "its host",
            )
        self._last_digest = digest
        return drawn
