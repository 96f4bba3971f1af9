"""The bytes of an envelope, format 1 suite 0x0001. Strict: one envelope, one spelling.

off len  field
0    2   "TV"
2    1   format = 01
3    2   suite  = 0001   AES-256-GCM, HKDF-SHA-512, 256-bit commitment
5   16   dek_id
21  32   msg_id
53  32   commitment
85   n   ciphertext, n <= 65,536
85+n 16  GCM tag
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError

PREFIX: Final = b"TV\x01\x00\x01"
"""Magic, format and suite. Format 1 has one suite; a further one gets its own number."""

DEK_ID_BYTES: Final = 16
MSG_ID_BYTES: Final = 32
COMMITMENT_BYTES: Final = 32
TAG_BYTES: Final = 16

_MSG_ID_AT: Final = len(PREFIX) + DEK_ID_BYTES
_COMMITMENT_AT: Final = _MSG_ID_AT + MSG_ID_BYTES
HEADER_BYTES: Final = _COMMITMENT_AT + COMMITMENT_BYTES
ENVELOPE_MIN_BYTES: Final = HEADER_BYTES + TAG_BYTES
ENVELOPE_MAX_BYTES: Final = ENVELOPE_MIN_BYTES + limits.PAYLOAD_MAX_BYTES


def corrupt() -> VaultError:
    """ENVELOPE_CORRUPT. One text for every cause: an attacker who tries learns only "no"."""
    return VaultError(
        Reason.ENVELOPE_CORRUPT,
        "what is stored does not open for this row; it was changed or moved, or its DEK is not "
        "the row's: restore the row, or store the secret again",
    )


@dataclass(frozen=True, slots=True)
class Envelope:
    """One parsed envelope; ``sealed`` is ciphertext and tag together, as the cipher takes it."""

    dek_id: bytes  # 16 bytes
    msg_id: bytes  # 32 bytes
    commitment: bytes  # 32 bytes
    sealed: bytes  # 16 to 65,552 bytes

    @property
    def preamble(self) -> bytes:
        """The 21 bytes before msg_id, which the message key is derived for."""
        return PREFIX + self.dek_id

    @property
    def header(self) -> bytes:
        """The 85 bytes before the ciphertext, all of them authenticated."""
        return self.preamble + self.msg_id + self.commitment

    def serialize(self) -> bytes:
        """The bytes that ``parse`` took."""
        return self.header + self.sealed


def parse(data: bytes) -> Envelope:
    """The parts of an envelope; ``parse(b).serialize() == b``. Raises ENVELOPE_CORRUPT."""
    if not ENVELOPE_MIN_BYTES <= len(data) <= ENVELOPE_MAX_BYTES or not data.startswith(PREFIX):
        raise corrupt()
    return Envelope(
        dek_id=data[len(PREFIX) : _MSG_ID_AT],
        msg_id=data[_MSG_ID_AT:_COMMITMENT_AT],
        commitment=data[_COMMITMENT_AT:HEADER_BYTES],
        sealed=data[HEADER_BYTES:],
    )
