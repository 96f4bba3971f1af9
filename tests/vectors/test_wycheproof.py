"""Wycheproof against the primitives that ``crypto`` uses, called as it calls them."""

from __future__ import annotations

import hmac
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.vectors.shared_data import shared_vectors

_NONCE_BITS = 96
_TAG_BITS = 128


def _cases(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    groups = shared_vectors(f"wycheproof/{name}_test.json")["testGroups"]
    return [(group, case) for group in groups for case in group["tests"]]


def _bytes(case: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


def test_aes_gcm() -> None:
    """Valid vectors with 96-bit nonces seal and open; each invalid one fails to open."""
    counts = {"valid": 0, "invalid": 0}
    for group, case in _cases("aes_gcm"):
        if group["ivSize"] != _NONCE_BITS:
            continue
        assert group["tagSize"] == _TAG_BITS
        key, nonce, aad, msg, ct, tag = _bytes(case, "key", "iv", "aad", "msg", "ct", "tag")
        counts[case["result"]] += 1
        if case["result"] == "valid":
            assert AESGCM(key).encrypt(nonce, msg, aad) == ct + tag, case["tcId"]
            assert AESGCM(key).decrypt(nonce, ct + tag, aad) == msg, case["tcId"]
        else:
            with pytest.raises(InvalidTag):
                AESGCM(key).decrypt(nonce, ct + tag, aad)
    assert min(counts.values()) > 0, counts


def test_hkdf_sha512() -> None:
    """Valid vectors derive the known bytes; each invalid one (too long) is refused."""
    counts = {"valid": 0, "invalid": 0}
    for _, case in _cases("hkdf_sha512"):
        ikm, salt, info, okm = _bytes(case, "ikm", "salt", "info", "okm")
        counts[case["result"]] += 1
        if case["result"] == "valid":
            derived = bytearray(case["size"])
            HKDF(SHA512(), case["size"], salt, info).derive_into(ikm, derived)
            assert derived == okm, case["tcId"]
        else:
            with pytest.raises(ValueError, match="Cannot derive keys larger"):
                HKDF(SHA512(), case["size"], salt, info)
    assert min(counts.values()) > 0, counts


@pytest.mark.parametrize(
    ("name", "algorithm"), [("hmac_sha256", SHA256()), ("hmac_sha512", SHA512())]
)
def test_hmac(name: str, algorithm: HashAlgorithm) -> None:
    """Valid vectors have the known (truncated) tag; no invalid one does."""
    counts = {"valid": 0, "invalid": 0}
    for group, case in _cases(name):
        key, msg, tag = _bytes(case, "key", "msg", "tag")
        mac = HMAC(key, algorithm)
        mac.update(msg)
        same = hmac.compare_digest(mac.finalize()[: group["tagSize"] // 8], tag)
        counts[case["result"]] += 1
        assert same is (case["result"] == "valid"), case["tcId"]
    assert min(counts.values()) > 0, counts
