"""Sealing and opening envelopes, format 1 suite 0x0001. Byte layout: ``codec``.

    C    = associated_data(deployment, binding)
    okm  = HKDF-SHA-512(ikm = DEK, salt = msg_id,
                        info = "tvault/env/v1" || header[0:21] || SHA-256(C), 76 bytes)
    key, nonce, commitment = okm[0:32], okm[32:44], okm[44:76]
    ct || tag = AES-256-GCM(key, nonce, plaintext, AAD = envelope[0:85] || C)

A key made for one envelope needs no nonce budget. AES-GCM commits to no key, so the commitment
is compared before anything is decrypted.

What is wiped: the DEK's buffer and the derived keys. What Python cannot wipe: the bytes inside
a ``Sensitive``, and the cipher library's own contexts until it frees them.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault_service.crypto import codec
from vault_service.crypto.bind import associated_data
from vault_service.crypto.codec import corrupt
from vault_service.crypto.dek import Dek, wipe_buffer
from vault_service.domain import limits
from vault_service.domain.envelope import Binding
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.sensitive import Sensitive

_INFO_LABEL: Final = b"tvault/env/v1"
_KEY: Final = slice(0, 32)
_NONCE: Final = slice(32, 44)
_COMMITMENT: Final = slice(44, 76)
_OKM_BYTES: Final = 76


def seal(deployment: str, dek: Dek, binding: Binding, payload: Sensitive, msg_id: bytes) -> bytes:
    """The envelope of ``payload`` (at most 65,536 bytes), bound to its row.

    ``msg_id``: 32 bytes from the system's generator, used once; ``fresh`` refuses a stuck one.
    Raises PAYLOAD_TOO_LARGE, ENVELOPE_CORRUPT when the row is not the DEK's owner's, and
    INTERNAL for a binding or msg_id that format 1 cannot hold.
    """
    plaintext = payload.reveal()
    if len(plaintext) > limits.PAYLOAD_MAX_BYTES:
        raise VaultError(
            Reason.PAYLOAD_TOO_LARGE, f"a payload has at most {limits.PAYLOAD_MAX_BYTES} bytes"
        )
    if binding.dek_owner != dek.dek_owner:
        raise corrupt()
    if len(msg_id) != codec.MSG_ID_BYTES:
        raise VaultError(Reason.INTERNAL, f"a msg_id has {codec.MSG_ID_BYTES} bytes")
    try:
        context = associated_data(deployment, binding)
    except ValueError:
        raise VaultError(Reason.INTERNAL, "this row's binding does not fit format 1") from None
    preamble = codec.PREFIX + dek.dek_id
    okm = _derive(dek, msg_id, preamble, context)
    try:
        view = memoryview(okm)
        header = b"".join((preamble, msg_id, view[_COMMITMENT]))
        return header + AESGCM(view[_KEY]).encrypt(view[_NONCE], plaintext, header + context)
    finally:
        wipe_buffer(okm)


def open_envelope(deployment: str, dek: Dek, binding: Binding, envelope: bytes) -> Sensitive:
    """The payload; raises ENVELOPE_CORRUPT, whatever the cause."""
    return open_parsed(deployment, dek, binding, codec.parse(envelope))


def open_parsed(deployment: str, dek: Dek, binding: Binding, envelope: codec.Envelope) -> Sensitive:
    """``open_envelope`` for one that is parsed already, because its dek_id had to be read."""
    if envelope.dek_id != dek.dek_id or binding.dek_owner != dek.dek_owner:
        raise corrupt()
    try:
        context = associated_data(deployment, binding)
    except ValueError:
        raise corrupt() from None
    okm = _derive(dek, envelope.msg_id, envelope.preamble, context)
    try:
        view = memoryview(okm)
        if not hmac.compare_digest(view[_COMMITMENT], envelope.commitment):
            raise corrupt()
        # Not decrypt_into: the plaintext has to end in the immutable bytes of a Sensitive, and
        # a buffer in between would be one copy more, not one less.
        plaintext = AESGCM(view[_KEY]).decrypt(
            view[_NONCE], envelope.sealed, envelope.header + context
        )
    except InvalidTag:
        raise corrupt() from None
    finally:
        wipe_buffer(okm)
    return Sensitive(plaintext)


def _derive(dek: Dek, msg_id: bytes, preamble: bytes, context: bytes) -> bytearray:
    info = _INFO_LABEL + preamble + hashlib.sha256(context).digest()
    okm = bytearray(_OKM_BYTES)
    HKDF(SHA512(), _OKM_BYTES, msg_id, info).derive_into(dek.reveal(), okm)
    return okm
