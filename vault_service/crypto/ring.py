"""The DEKs this process has in clear, and how they come and go."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context

from vault_service.crypto.cache import Lives, LoadingCache
from vault_service.crypto.codec import corrupt
from vault_service.crypto.dek import DEK_BYTES, Dek
from vault_service.crypto.fresh import FreshBytes
from vault_service.domain.envelope import DekOwner, WrappedDek
from vault_service.domain.errors import VaultError
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import Clock, DekStore, Entropy, KeyWrapper


class DekRing:
    """Finds, makes and caches DEKs; one lookup and one unwrap however many ask at once.

    Two caches of the same rules: which DEK seals for an owner (public), and the DEKs in clear.
    Never on disk.
    """

    def __init__(
        self,
        wrapper: KeyWrapper,
        store: DekStore,
        entropy: Entropy,
        clock: Clock,
        lives: Lives | None = None,
        background: Callable[[], Context] = Context,
    ) -> None:
        """``lives`` defaults to 300 s soft, 3,600 s hard, 50,000 entries; loads run in a context
        that ``background`` makes."""
        lives = lives or Lives()
        self._wrapper = wrapper
        self._store = store
        self._entropy = entropy
        self._fresh = FreshBytes(entropy)
        self._current: LoadingCache[DekOwner, bytes] = LoadingCache(
            self._load_current, lives, entropy, clock, background
        )
        self._deks: LoadingCache[tuple[str, bytes], Dek] = LoadingCache(
            self._load_dek, lives, entropy, clock, background
        )

    @property
    def current(self) -> LoadingCache[DekOwner, bytes]:
        """Which DEK seals for an owner: to be counted, not to be asked."""
        return self._current

    @property
    def deks(self) -> LoadingCache[tuple[str, bytes], Dek]:
        """The DEKs in clear: to be counted, not to be asked."""
        return self._deks

    async def sealing(self, owner: DekOwner) -> Dek:
        """The DEK that seals for this owner now; made where there is none.

        A DEK that was just made is read back and unwrapped before it is handed out, so nothing
        is ever sealed under a DEK that transit could not give back.
        Raises KEK_UNREACHABLE (``KekDenied`` too), TENANT_NOT_PROVISIONED, STORE_UNREACHABLE,
        ENVELOPE_CORRUPT, OVERLOADED, and INTERNAL for a stuck random source.
        """
        dek_id = await self._current.get(owner)
        try:
            return await self.opening(owner, dek_id)
        except VaultError as error:
            if not error.retryable:
                self._current.drop(owner)  # another DEK may be the current one by now
            raise

    async def opening(self, owner: DekOwner, dek_id: bytes) -> Dek:
        """The DEK that an envelope of this owner names.

        Raises ENVELOPE_CORRUPT when the tenant has no such DEK, it is another owner's, or it
        does not unwrap; else as ``sealing``.
        """
        dek = await self._deks.get((owner.tenant, dek_id))
        if dek.dek_owner != owner:
            raise corrupt()
        return dek

    async def close(self) -> None:
        """Stop what runs in the background and wipe every DEK that nobody uses any more."""
        await self._current.close()
        await self._deks.close()

    async def _load_current(self, owner: DekOwner) -> bytes:
        row = await self._store.find_current(owner)
        if row is None:
            row = await self._make(owner)
        if row.dek_owner != owner:
            raise corrupt()
        return row.dek_id

    async def _make(self, owner: DekOwner) -> WrappedDek:
        key = Sensitive(self._fresh.take(DEK_BYTES))
        dek_id = self._entropy.uuid7().bytes
        wrapped = await self._wrapper.wrap(dek_id, owner, key)
        # Another replica may have been faster: the row that stands is the one to use.
        return await self._store.insert(wrapped)

    async def _load_dek(self, key: tuple[str, bytes]) -> Dek:
        tenant, dek_id = key
        row = await self._store.find(tenant, dek_id)
        if row is None or row.dek_id != dek_id or row.dek_owner.tenant != tenant:
            raise corrupt()
        return Dek(dek_id, row.dek_owner, await self._wrapper.unwrap(row))
