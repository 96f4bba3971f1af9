"""What use cases call: seal, open, fingerprint. They see no key and no cipher."""

from __future__ import annotations

from vault_service.crypto import codec
from vault_service.crypto.dek import Dek
from vault_service.crypto.envelope import open_parsed, seal
from vault_service.crypto.fingerprint import fingerprint, request_digest
from vault_service.crypto.fresh import FreshBytes
from vault_service.crypto.ring import DekRing
from vault_service.domain import limits
from vault_service.domain.envelope import Binding, DekOwner, Level
from vault_service.domain.errors import VaultError
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import Entropy


class Sealer:
    """Seals for one owner without I/O. Get it before the point of no return, drop it after use.

    Its DEK and its first message ids are in memory already, so between a provider's answer and
    the commit nothing of it can fail. It keeps its DEK alive, evicted or not.
    """

    def __init__(self, deployment: str, dek: Dek, fresh: FreshBytes) -> None:
        self._deployment = deployment
        self._dek = dek
        self._fresh = fresh
        self._msg_ids = [fresh.take(codec.MSG_ID_BYTES) for _ in range(limits.SEALS_AHEAD)]

    def seal(self, binding: Binding, payload: Sensitive) -> bytes:
        """The envelope of at most 65,536 bytes.

        Raises PAYLOAD_TOO_LARGE, and ENVELOPE_CORRUPT for a binding of another owner. After
        ``limits.SEALS_AHEAD`` seals a stuck random source is INTERNAL.
        """
        msg_id = self._msg_ids.pop() if self._msg_ids else self._fresh.take(codec.MSG_ID_BYTES)
        return seal(self._deployment, self._dek, binding, payload, msg_id)

    def holds(self, binding: Binding, envelope: bytes, payload: Sensitive) -> bool:
        """Whether the envelope seals just this, in time that tells nothing about where it differs.
        False where it cannot be opened, which includes that it was sealed under another DEK."""
        try:
            parsed = codec.parse(envelope)
            if parsed.dek_id != self._dek.dek_id:
                return False
            return open_parsed(self._deployment, self._dek, binding, parsed).same_as(payload)
        except VaultError:
            return False


class Envelopes:
    """The one way in and out of envelopes for a deployment."""

    def __init__(self, deployment: str, ring: DekRing, entropy: Entropy) -> None:
        self._deployment = deployment
        self._ring = ring
        self._fresh = FreshBytes(entropy)

    async def open(self, binding: Binding, envelope: bytes) -> Sensitive:
        """The payload that was sealed for exactly this row.

        Raises ENVELOPE_CORRUPT, and what ``DekRing.opening`` raises.
        """
        parsed = codec.parse(envelope)
        dek = await self._ring.opening(binding.dek_owner, parsed.dek_id)
        return open_parsed(self._deployment, dek, binding, parsed)

    async def sealer(self, owner: DekOwner) -> Sealer:
        """All that can fail about sealing happens here; raises as ``DekRing.sealing``."""
        return Sealer(self._deployment, await self._ring.sealing(owner), self._fresh)

    async def fingerprint(self, tenant: str, token: Sensitive) -> str:
        """An opaque text that is the same for the same token in the same tenant.

        For records: with it one can ask where a leaked token was disclosed. Keyed by the
        tenant's application-level DEK, so all replicas agree, while a reader of the records
        can neither test guesses nor link two tenants, and shredding the tenant ends it. A new
        application-level DEK (reseal) starts a new series. Raises as ``DekRing.sealing``.
        """
        dek = await self._ring.sealing(DekOwner(tenant, Level.APPLICATION, ""))
        return fingerprint(dek, token)

    async def request_digest(self, owner: DekOwner, request: Sensitive) -> str:
        """An opaque text that is the same for the same request under the same DEK.

        To know a retry without keeping what it carried. Keyed by the owner's own DEK, so that it
        ends with the owner, and the two levels have nothing in common here either. Raises as
        ``DekRing.sealing``.
        """
        return request_digest(await self._ring.sealing(owner), request)
