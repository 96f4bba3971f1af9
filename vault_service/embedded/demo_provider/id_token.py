"""The signed id_token (OpenID Connect Core §2), ES256 (RFC 7518 §3.4).

The key lives as long as the process: an id_token is read once, at the exchange of its code.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

_COORDINATE_BYTES: Final = 32  # P-256
ID_TOKEN_LIFE_S: Final = 300


class Signer:
    """Signs claims as a compact JWS."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        public = {
            "crv": "P-256",
            "kty": "EC",
            "x": base64url(numbers.x.to_bytes(_COORDINATE_BYTES, "big")),
            "y": base64url(numbers.y.to_bytes(_COORDINATE_BYTES, "big")),
        }
        # RFC 7638 §3: the thumbprint is over exactly these members, sorted, without spaces.
        self._kid = base64url(hashlib.sha256(_json(public)).digest())
        self.jwk: Mapping[str, str] = public | {"kid": self._kid, "alg": "ES256", "use": "sig"}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """The compact serialization (RFC 7515 §7.1)."""
        header = {"alg": "ES256", "kid": self._kid, "typ": "JWT"}
        signed = f"{base64url(_json(header))}.{base64url(_json(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return f"{signed}.{base64url(signature)}"


def base64url(data: bytes) -> str:
    """Without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
