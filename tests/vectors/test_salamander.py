"""Invisible salamanders (Dodis et al., CRYPTO 2018): one ciphertext, two keys, both tags valid."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.vectors.shared_data import own_vectors
from vault_service.crypto.bind import associated_data
from vault_service.crypto.codec import PREFIX
from vault_service.crypto.dek import Dek
from vault_service.crypto.envelope import open_envelope
from vault_service.domain.envelope import Binding, DekOwner, Field, Level
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.sensitive import Sensitive

OWNER = DekOwner("tenant-a", Level.USER, "user-42")
BINDING = Binding(OWNER, "record-1", Field.REFRESH_TOKEN, 7, "google")
CONTEXT = associated_data("dep-1", BINDING)
DEK_ID, MSG_ID = bytes(range(16)), bytes(range(32))
KEYS = (b"\x11" * 32, b"\x22" * 32)
BLOCK = 16
BLOCKS = 4  # of ciphertext; the last one is chosen so that the tags agree


def _multiply(x: int, y: int) -> int:
    """In GF(2^128) with GCM's bit order (SP 800-38D §6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def _inverse(x: int) -> int:
    result, square = 1 << 127, x
    for _ in range(127):  # x^(2^128 - 2)
        square = _multiply(square, square)
        result = _multiply(result, square)
    return result


def _encrypt_block(key: bytes, block: bytes) -> int:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return int.from_bytes(encryptor.update(block), "big")


def _blocks(data: bytes) -> list[int]:
    padded = data + bytes(-len(data) % BLOCK)
    return [int.from_bytes(padded[at : at + BLOCK], "big") for at in range(0, len(padded), BLOCK)]


def _tag(key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> int:
    subkey, state = _encrypt_block(key, bytes(BLOCK)), 0
    sizes = (8 * len(aad) << 64 | 8 * len(ciphertext)).to_bytes(BLOCK, "big")
    for block in _blocks(aad) + _blocks(ciphertext) + _blocks(sizes):
        state = _multiply(state ^ block, subkey)
    return state ^ _encrypt_block(key, nonce + b"\x00\x00\x00\x01")


def _derive(dek: bytes) -> tuple[bytes, bytes, bytes]:
    info = b"tvault/env/v1" + PREFIX + DEK_ID + hashlib.sha256(CONTEXT).digest()
    okm = HKDF(SHA512(), 76, MSG_ID, info).derive(dek)
    return okm[:32], okm[32:44], okm[44:]


def _forge() -> tuple[bytes, bytes]:
    """An envelope with the first DEK's commitment, whose tag is valid under both DEKs' keys.

    With all but the last block fixed, each tag is linear in that block: it enters multiplied by
    H^2 (itself and the block of lengths). Solve tag1(x) = tag2(x) for x.
    """
    (key1, nonce1, commitment), (key2, nonce2, _) = _derive(KEYS[0]), _derive(KEYS[1])
    header = PREFIX + DEK_ID + MSG_ID + commitment
    aad = header + CONTEXT
    free = b"\x5a" * BLOCK * (BLOCKS - 1)
    offset = _tag(key1, nonce1, aad, free + bytes(BLOCK)) ^ _tag(
        key2, nonce2, aad, free + bytes(BLOCK)
    )
    squares = [_multiply(h, h) for h in (_encrypt_block(k, bytes(BLOCK)) for k in (key1, key2))]
    last = _multiply(offset, _inverse(squares[0] ^ squares[1]))
    ciphertext = free + last.to_bytes(BLOCK, "big")
    tag = _tag(key1, nonce1, aad, ciphertext).to_bytes(BLOCK, "big")
    return header + ciphertext + tag, aad


def test_gcm_does_not_commit() -> None:
    """Plain AES-256-GCM opens the known salamander under two keys, to two plaintexts."""
    vector = {name: value for name, value in own_vectors("salamander_aes256gcm.json").items()}
    nonce, sealed, aad = (bytes.fromhex(vector[name]) for name in ("nonce", "ct_tag", "aad"))
    for number in "12":
        plaintext = AESGCM(bytes.fromhex(vector[f"k{number}"])).decrypt(nonce, sealed, aad)
        assert plaintext.hex() == vector[f"pt{number}"]


def test_envelope_commits() -> None:
    """A forged envelope whose GCM tag is valid under two DEKs opens only under the committed."""
    envelope, aad = _forge()
    for dek in KEYS:
        key, nonce, _ = _derive(dek)
        assert len(AESGCM(key).decrypt(nonce, envelope[85:], aad)) == BLOCK * BLOCKS
    committed, other = (Dek(DEK_ID, OWNER, Sensitive(key)) for key in KEYS)
    assert len(open_envelope("dep-1", committed, BINDING, envelope)) == BLOCK * BLOCKS
    with pytest.raises(VaultError) as refused:
        open_envelope("dep-1", other, BINDING, envelope)
    assert refused.value.reason is Reason.ENVELOPE_CORRUPT
