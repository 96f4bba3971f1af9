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
_REQUEST_INFO: Final = b"tvault/request/v1"
_KEY_BYTES: Final = 32
_SHOWN_BYTES: Final = 16


def fingerprint(dek: Dek, token: Sensitive) -> str:
    """Gives "v1." and the first 16 bytes of HMAC-SHA-256(key, token), base64url without padding.

    The key is HKDF-SHA-512(DEK, no salt, "tvault/fingerprint/v1", 32 bytes), derived once for a
    DEK: every disclosure has a fingerprint.
    """
    return "v1." + _shown(_mac(dek, _INFO, token)[:_SHOWN_BYTES])


def request_digest(dek: Dek, request: Sensitive) -> str:
    """Gives "v1." and HMAC-SHA-256(key, request), base64url without padding.

    The key is HKDF-SHA-512(DEK, no salt, "tvault/request/v1", 32 bytes): no digest of a request
    is ever the fingerprint of a token.
    """
    return "v1." + _shown(_mac(dek, _REQUEST_INFO, request))


def _mac(dek: Dek, info: bytes, message: Sensitive) -> bytes:
    def derive(key: memoryview, derived: bytearray) -> None:
        HKDF(SHA512(), _KEY_BYTES, None, info).derive_into(key, derived)

    return hmac.digest(dek.derived(info, _KEY_BYTES, derive), message.reveal(), "sha256")


def _shown(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
