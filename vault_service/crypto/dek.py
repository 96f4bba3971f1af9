"""A DEK in clear, held in a buffer that can be overwritten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn, final

from vault_service.crypto.codec import DEK_ID_BYTES, corrupt
from vault_service.domain.envelope import DekOwner
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.sensitive import SecretExposureError, Sensitive

DEK_BYTES: Final = 32


def wipe_buffer(buffer: bytearray) -> None:
    """Overwrite in place with zeros."""
    buffer[:] = bytes(len(buffer))


@final
class Dek:
    """One data-encryption key and whose it is. Cannot be printed, pickled or copied.

    The reference count is the lease: whoever uses a Dek holds it, the cache that evicts it only
    lets go, and the key is overwritten when the last of them has let go (at once, in CPython).
    So a DEK that is evicted while nobody uses it is wiped there and then, and eviction can never
    zero a key under a seal that is running.
    """

    __slots__ = ("__derived", "__key", "__wiped", "_dek_id", "_dek_owner")

    def __init__(self, dek_id: bytes, dek_owner: DekOwner, key: Sensitive) -> None:
        """``dek_id`` has 16 bytes, ``key`` 32; anything else is ENVELOPE_CORRUPT."""
        self.__key = bytearray(key.reveal())
        self.__wiped = False
        self.__derived: dict[bytes, bytearray] = {}
        if len(dek_id) != DEK_ID_BYTES or len(self.__key) != DEK_BYTES:
            raise corrupt()
        self._dek_id = dek_id
        self._dek_owner = dek_owner

    @property
    def dek_id(self) -> bytes:
        """Its id, 16 bytes; stands in the clear in each envelope."""
        return self._dek_id

    @property
    def dek_owner(self) -> DekOwner:
        """Whose it is."""
        return self._dek_owner

    def reveal(self) -> memoryview:
        """A read-only view of the 32 key bytes; raises INTERNAL after ``wipe``.

        A view, so that no copy outlives the buffer. Every use of this is a place to review.
        """
        if self.__wiped:
            raise VaultError(Reason.INTERNAL, "a DEK was used after it was wiped")
        return memoryview(self.__key).toreadonly()

    def derived(
        self, label: bytes, size_bytes: int, derive: Callable[[memoryview, bytearray], object]
    ) -> memoryview:
        """A read-only view of a key made of this one by ``derive(key, out)``, once per label.

        It lives and is wiped with the DEK. Only for keys that serve every call, since each one
        is one more secret in memory. Raises as ``reveal``.
        """
        key = self.reveal()
        known = self.__derived.get(label)
        if known is None:
            known = bytearray(size_bytes)
            derive(key, known)
            self.__derived[label] = known
        return memoryview(known).toreadonly()

    def wipe(self) -> None:
        """Overwrite the key. Only for whoever holds the last reference."""
        self.__wiped = True
        for buffer in (self.__key, *self.__derived.values()):
            wipe_buffer(buffer)
        self.__derived.clear()

    def __del__(self) -> None:
        self.wipe()

    def __repr__(self) -> str:
        return "<dek>"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise SecretExposureError("DEKs are not pickled or copied")
