"""A transit and a table deks in memory, with the faults of the real ones at a switch."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import Iterable

from vault_service.crypto.bind import transit_context
from vault_service.domain.envelope import DekOwner, WrappedDek
from vault_service.domain.errors import KekDenied, Reason, VaultError
from vault_service.domain.sensitive import Sensitive

_NONCE_BYTES = 16
_KEY_BYTES = 32
_TAG_BYTES = 32


class FakeKeyWrapper:
    """ports.KeyWrapper with one KEK per tenant, derived by context as transit does it.

    ``tenants``: those that have a transit key; None means every tenant has one, except those
    given to ``delete_key``. Faults: ``unreachable``, ``denied``. ``gate``: an event that calls
    wait for before they answer; ``arrived`` is set by each call that comes. ``wraps`` and
    ``unwraps`` count the calls.
    """

    def __init__(self, deployment: str = "dep-1", tenants: Iterable[str] | None = None) -> None:
        self.deployment = deployment
        self.tenants = None if tenants is None else set(tenants)
        self.unreachable = False
        self.denied = False
        self.gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self.wraps = 0
        self.unwraps = 0
        self._deleted: set[str] = set()
        self._keks: dict[str, list[bytes]] = {}

    def delete_key(self, tenant: str) -> None:
        """As shredding a tenant does: nothing of it unwraps again."""
        self._deleted.add(tenant)
        self._keks.pop(tenant, None)

    def rotate(self, tenant: str) -> None:
        """A new KEK version; what older ones wrapped still unwraps."""
        self._versions(tenant).append(os.urandom(_KEY_BYTES))

    async def wrap(self, dek_id: bytes, owner: DekOwner, key: Sensitive) -> WrappedDek:
        self.wraps += 1
        versions = await self._reach(owner.tenant)
        context = transit_context(self.deployment, dek_id, owner)
        nonce = os.urandom(_NONCE_BYTES)
        pad = _mac(versions[-1], b"pad", nonce, context)
        sealed = bytes(a ^ b for a, b in zip(key.reveal(), pad, strict=True))
        blob = nonce + sealed + _mac(versions[-1], b"tag", nonce, sealed, context)
        wrapped = f"vault:v{len(versions)}:{base64.b64encode(blob).decode()}"
        return WrappedDek(dek_id, owner, wrapped, len(versions))

    async def unwrap(self, wrapped: WrappedDek) -> Sensitive:
        self.unwraps += 1
        versions = await self._reach(wrapped.dek_owner.tenant)
        kek, blob = _parse(wrapped.wrapped, versions)
        context = transit_context(self.deployment, wrapped.dek_id, wrapped.dek_owner)
        nonce, sealed = blob[:_NONCE_BYTES], blob[_NONCE_BYTES:-_TAG_BYTES]
        if not hmac.compare_digest(blob[-_TAG_BYTES:], _mac(kek, b"tag", nonce, sealed, context)):
            raise _corrupt()
        pad = _mac(kek, b"pad", nonce, context)
        return Sensitive(bytes(a ^ b for a, b in zip(sealed, pad, strict=True)))

    async def _reach(self, tenant: str) -> list[bytes]:
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        else:
            await asyncio.sleep(0)  # a real one always lets others run
        if self.denied:
            raise KekDenied("transit answered 403; give the service's policy update on its key")
        if self.unreachable:
            raise VaultError(Reason.KEK_UNREACHABLE, "transit is away", retry_after_s=1.0)
        known = self.tenants is None or tenant in self.tenants
        if not known or tenant in self._deleted:
            raise VaultError(Reason.TENANT_NOT_PROVISIONED, "no transit key; create the tenant")
        return self._versions(tenant)

    def _versions(self, tenant: str) -> list[bytes]:
        return self._keks.setdefault(tenant, [os.urandom(_KEY_BYTES)])


class FakeDekStore:
    """ports.DekStore in a dictionary; ``rows`` is open for tests that tamper with the table.

    ``tenants``: those that exist; None means all. Fault: ``unreachable``. ``finds`` counts
    look-ups of either kind, ``inserts`` the rows that were offered.
    """

    def __init__(self, tenants: Iterable[str] | None = None) -> None:
        self.tenants = None if tenants is None else set(tenants)
        self.rows: dict[bytes, WrappedDek] = {}
        self.unreachable = False
        self.finds = 0
        self.inserts = 0

    async def find(self, tenant: str, dek_id: bytes) -> WrappedDek | None:
        self.finds += 1
        await self._reach()
        row = self.rows.get(dek_id)
        return row if row is not None and row.dek_owner.tenant == tenant else None

    async def find_current(self, owner: DekOwner) -> WrappedDek | None:
        self.finds += 1
        await self._reach()
        return self._of(owner)

    async def insert(self, dek: WrappedDek) -> WrappedDek:
        self.inserts += 1
        await self._reach()
        if self.tenants is not None and dek.dek_owner.tenant not in self.tenants:
            raise VaultError(Reason.TENANT_NOT_PROVISIONED, "no such tenant; create it first")
        standing = self._of(dek.dek_owner)
        if standing is None:
            if dek.dek_id in self.rows:
                raise VaultError(Reason.INTERNAL, "this dek_id is another owner's")
            self.rows[dek.dek_id] = standing = dek
        return standing

    def _of(self, owner: DekOwner) -> WrappedDek | None:
        return next((row for row in self.rows.values() if row.dek_owner == owner), None)

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self.unreachable:
            raise VaultError(Reason.STORE_UNREACHABLE, "the database is away", retry_after_s=1.0)


def _parse(wrapped: str, versions: list[bytes]) -> tuple[bytes, bytes]:
    vault, _, rest = wrapped.partition(":v")
    number, _, encoded = rest.partition(":")
    try:
        version, blob = int(number), base64.b64decode(encoded, validate=True)
    except ValueError:
        raise _corrupt() from None
    sizes_fit = len(blob) == _NONCE_BYTES + _KEY_BYTES + _TAG_BYTES
    if vault != "vault" or not 1 <= version <= len(versions) or not sizes_fit:
        raise _corrupt()
    return versions[version - 1], blob


def _mac(kek: bytes, *parts: bytes) -> bytes:
    mac = hmac.new(kek, digestmod=hashlib.sha256)
    for part in parts:
        mac.update(len(part).to_bytes(4, "big") + part)
    return mac.digest()


def _corrupt() -> VaultError:
    return VaultError(Reason.ENVELOPE_CORRUPT, "the wrapped DEK is not of this row")
