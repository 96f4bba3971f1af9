"""The server's own answers, and what a rewrite makes of them."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec

from tests.support.authserver.behaviour import Behaviour, ErrorShape
from tests.support.authserver.faults import Answer, Rewrite
from tests.support.authserver.model import Issued, Refused

_OVERSIZE_BYTES = 70_000
_ENCODE = msgspec.json.Encoder().encode
_SHAPED = {
    ErrorShape.GITHUB: {"error": "bad_refresh_token"},
    ErrorShape.SLACK: {"ok": False, "error": "invalid_refresh_token"},
}


def tokens(issued: Issued, behaviour: Behaviour) -> Answer:
    """RFC 6749 §5.1; the answer to a code names its user."""
    members: dict[str, Any] = {
        "access_token": issued.access_token,
        "token_type": behaviour.token_type,
        "expires_in": issued.expires_in_s,
        "scope": issued.scope,
    }
    if issued.reissued:
        members["refresh_token"] = issued.refresh_token
    if not issued.scope:
        del members["scope"]
    is_consent = issued.generation == 1
    for name in behaviour.omits:
        if not (is_consent and name == "refresh_token"):
            members.pop(name, None)
    if is_consent:
        members["user"] = issued.subject
    if behaviour.error_shape is ErrorShape.SLACK:
        members["ok"] = True
    return Answer(body=_ENCODE(members))


def refusal(refused: Refused, behaviour: Behaviour) -> Answer:
    """A refused grant as this provider words it."""
    shaped = _SHAPED.get(behaviour.error_shape)
    if shaped is not None and refused.error == "invalid_grant":
        return Answer(body=_ENCODE(shaped))
    return error(refused.error, 400)


def error(code: str, status: int, **headers: str) -> Answer:
    """RFC 6749 §5.2."""
    return Answer.json({"error": code}, status, **headers)


def rate_limited(wait_s: float, *, as_date: bool) -> Answer:
    """A 429; Retry-After has whole seconds and is never too early."""
    whole_s = math.ceil(wait_s)
    moment = datetime.now(UTC) + timedelta(seconds=whole_s + 1)
    said = format_datetime(moment, usegmt=True) if as_date else str(whole_s)
    return error("slow_down", 429, Retry_After=said)


def rewritten(answer: Answer, how: Rewrite) -> Answer:
    """The answer spoilt."""
    if how is Rewrite.HTML:
        return Answer.html(answer.status)
    body, headers = answer.body, dict(answer.headers)
    if how is Rewrite.EMPTY:
        body = b""
    elif how is Rewrite.OVERSIZED:
        body = _with(body, {"padding": "x" * _OVERSIZE_BYTES})
    elif how is Rewrite.GZIP:
        body = gzip.compress(body)
        headers["Content-Encoding"] = "gzip"
    elif how is Rewrite.NAN:
        body = _with(body, {"expires_in": math.nan})
    elif how is Rewrite.DUPLICATE_KEYS:
        body = b'{"access_token": "another", ' + body.lstrip(b"{ ")
    return msgspec.structs.replace(answer, body=body, headers=headers)


def _with(body: bytes, more: Mapping[str, Any]) -> bytes:
    return json.dumps({**json.loads(body), **more}).encode()
