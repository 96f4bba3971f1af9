"""A name for a token that says whether two records speak of the same one, and nothing else."""

from __future__ import annotations

import base64
import hmac
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault_service.crypto.dek import Dek
from vault_service.domain.sensitive import Sensitive

_INFO: Final = b"tvault/fingerprint/v1"
_KEY_BYTES: Final = 32
_SHOWN_BYTES: Final = 16


def fingerprint(dek: Dek, token: Sensitive) -> str:
    """Gives "v1." and the first 16 bytes of HMAC-SHA-256(key, token), base64url without padding.

    The key is HKDF-SHA-512(DEK, no salt, "tvault/fingerprint/v1", 32 bytes), derived once for a
    DEK: every disclosure has a fingerprint.
    """
    key = dek.derived(_INFO, _KEY_BYTES, _derive)
    mac = hmac.digest(key, token.reveal(), "sha256")
    return "v1." + base64.urlsafe_b64encode(mac[:_SHOWN_BYTES]).decode().rstrip("=")


def _derive(key: memoryview, derived: bytearray) -> None:
    HKDF(SHA512(), _KEY_BYTES, None, _INFO).derive_into(key, derived)
