"""Signatures of webhooks, as the Standard Webhooks specification has them.

``v1,`` and base64 of HMAC-SHA-256(key, id ‖ "." ‖ timestamp ‖ "." ‖ body); one for each secret that
is in force, separated by a space. Secrets are written ``whsec_`` and base64 of the key.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from typing import Final

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.sensitive import Sensitive

PREFIX: Final = "whsec_"


def read_secret(text: Sensitive) -> Sensitive:
    """The key of a secret in its written form; FIELD_MALFORMED."""
    try:
        written = text.reveal_text()
        key = base64.b64decode(written.removeprefix(PREFIX), validate=True)
    except ValueError:  # not UTF-8, not ASCII, not base64
        raise _malformed() from None
    short, long = limits.WEBHOOK_KEY_MIN_BYTES, limits.WEBHOOK_KEY_MAX_BYTES
    if not written.startswith(PREFIX) or not short <= len(key) <= long:
        raise _malformed()
    return Sensitive(key)


def sign(keys: Sequence[Sensitive], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``."""
    content = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(key.reveal(), content, "sha256") for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _malformed() -> VaultError:
    return VaultError(
        Reason.FIELD_MALFORMED,
        f"secret is {PREFIX} and base64 of {limits.WEBHOOK_KEY_MIN_BYTES} to "
        f"{limits.WEBHOOK_KEY_MAX_BYTES} random bytes",
        metadata={"field": "secret"},
    )
