"""For receivers of webhooks: whether a request came from the service, and what it says.

After the Standard Webhooks specification; its libraries in other languages verify the same.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from tokenvault_client.enums import GrantEventKind, GrantState, ReauthorizationCause
from tokenvault_client.models import GrantEvent

TOLERANCE_S: Final = 300.0
_PREFIX: Final = "whsec_"
_BODY_MAX_BYTES: Final = 65_536
_SIGNATURES_MAX: Final = 10


class WebhookRefused(ValueError):
    """The request is not from the service, is too old, or was changed: answer 400."""


def verify_webhook(
    secret: str | Iterable[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance_s: float = TOLERANCE_S,
    now_s: float | None = None,
) -> GrantEvent:
    """The event of a request that one of the secrets signed, not more than ``tolerance_s`` away
    from now (``now_s``, seconds since 1970; this machine's clock where None).

    ``headers`` may be spelt in any case; ``body`` is the bytes as they came. The same event may
    come more than once: its ``id`` says so. Raises WebhookRefused, and ValueError for a secret
    that is none.
    """
    named = {name.lower(): value for name, value in headers.items()}
    message_id = named.get("webhook-id", "")
    timestamp = named.get("webhook-timestamp", "")
    given = named.get("webhook-signature", "").split(" ")
    if len(body) > _BODY_MAX_BYTES or len(given) > _SIGNATURES_MAX:
        raise WebhookRefused("the request is larger than any of the service's")
    if not message_id or not (timestamp.isascii() and timestamp.isdigit()):
        raise WebhookRefused("webhook-id or webhook-timestamp is missing")
    content = f"{message_id}.{timestamp}.".encode() + body
    secrets = [secret] if isinstance(secret, str) else list(secret)
    wanted = [hmac.digest(_key(each), content, "sha256") for each in secrets]
    # All are compared, whichever fits: how long it takes tells nothing.
    fits = [hmac.compare_digest(one, other) for one in map(_digest, given) for other in wanted]
    if not any(fits):
        raise WebhookRefused("no signature fits")
    now_s = time.time() if now_s is None else now_s
    if len(timestamp) > 12 or abs(now_s - int(timestamp)) > tolerance_s:
        raise WebhookRefused("webhook-timestamp is too far from now")
    return _event(body)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError(f"a secret is {_PREFIX} and base64")
    return key


def _digest(signature: str) -> bytes:
    """The digest of one signature; empty for another version or none."""
    version, _, text = signature.partition(",")
    try:
        return base64.b64decode(text, validate=True) if version == "v1" else b""
    except ValueError:
        return b""


def _event(body: bytes) -> GrantEvent:
    try:
        data: Any = json.loads(body)["data"]
        return GrantEvent(
            id=str(data["id"]),
            grant=str(data["grant"]),
            kind=GrantEventKind.of(str(data["kind"])),
            owner=str(data["owner"]),
            oauth_client=str(data["oauth_client"]),
            provider=str(data["provider"]),
            state=GrantState.of(str(data["state"])),
            cause=ReauthorizationCause.of(str(data["cause"])),
            generation=int(data["generation"]),
            revision=int(data["revision"]),
            event_time=datetime.fromisoformat(str(data["event_time"])),
        )
    except (ValueError, KeyError, TypeError) as fault:
        raise WebhookRefused("it is signed, but no event of a grant") from fault
