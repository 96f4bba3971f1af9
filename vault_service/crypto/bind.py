"""The bytes that say where something belongs: in an envelope, and in a wrapped DEK.

Each part is preceded by its length (u32be), so no two different facts make the same bytes.
"""

from __future__ import annotations

from typing import Final

from vault_service.domain.envelope import Binding, DekOwner

_ENVELOPE_LABEL: Final = b"tvault/aad/v1"
_DEK_LABEL: Final = b"tvault/dek/v1"
_VERSION_BYTES: Final = 8


def associated_data(deployment: str, binding: Binding) -> bytes:
    """C of format 1: what an envelope is bound to, rebuilt from the row and never stored.

    "tvault/aad/v1", deployment, tenant, level, owner, record_id, field, u64be(version), provider.
    Raises ValueError for a version outside u64 or text that is not UTF-8.
    """
    owner = binding.dek_owner
    if not 0 <= binding.version < 1 << 8 * _VERSION_BYTES:
        raise ValueError("the version of a binding is a u64")
    return _joined(
        _ENVELOPE_LABEL,
        deployment.encode(),
        owner.tenant.encode(),
        owner.level.value.encode(),
        owner.owner.encode(),
        binding.record_id.encode(),
        binding.field.value.encode(),
        binding.version.to_bytes(_VERSION_BYTES, "big"),
        binding.provider.encode(),
    )


def transit_context(deployment: str, dek_id: bytes, owner: DekOwner) -> bytes:
    """The ``context`` of a derived transit key: binds a wrapped DEK to its row.

    "tvault/dek/v1", deployment, tenant, level, owner, dek_id. Raw bytes; transit wants base64.
    """
    return _joined(
        _DEK_LABEL,
        deployment.encode(),
        owner.tenant.encode(),
        owner.level.value.encode(),
        owner.owner.encode(),
        dek_id,
    )


def _joined(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
