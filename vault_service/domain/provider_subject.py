"""Whose account a consent was for, as the provider's own answer says it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final

from vault_service.domain import limits
from vault_service.domain.strict_json import JsonRefusedError, at_path, parse_object

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SUBJECT: Final = re.compile(rf"[ -~]{{1,{limits.SUBJECT_MAX_CHARS}}}")


class SubjectRefusal(Enum):
    """Why the subject is not believed; the value is the word that callers get. All are permanent:
    the same answer is refused again."""

    ISSUER = "ISSUER"
    AUDIENCE = "AUDIENCE"
    EXPIRED = "EXPIRY"
    NONCE = "NONCE"
    MISSING = "SUBJECT"
    MALFORMED = "MALFORMED"


class SubjectRefusedError(ValueError):
    """The answer names a subject that must not be believed. The message is in our words.

    ``expected`` and ``came`` are what was compared, where neither is a secret: ``came`` is outside
    text, cut but not escaped.
    """

    def __init__(
        self, kind: SubjectRefusal, message: str, *, expected: str = "", came: object = ""
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.expected = expected
        self.came = str(came)[: limits.TEXT_MAX_CHARS]


def read_subject(
    subject_from: str,
    members: Mapping[str, Any],
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    now: datetime,
) -> str | None:
    """The subject as ``ProviderProfile.subject_from`` says, or None where the answer has none.

    ``id_token:<claim>``: the claims of the id_token, checked by OpenID Connect Core §3.1.3.7:
    ``iss`` is the issuer, ``aud`` has our client_id, ``exp`` is to come (ID_TOKEN_LEEWAY_S), and
    ``nonce`` is ours where we sent one ("" = none sent). Its signature is not checked: the token
    came over TLS from the token endpoint itself (item 6 there).
    ``response:<member>``: a member of the answer, or its dotted path (Slack: ``team.id``).

    Raises ``SubjectRefusedError``.
    """
    source, _, name = subject_from.partition(":")
    if source == "response":
        value = members[name] if name in members else at_path(members, name)
        return None if value is None else _subject(value)
    if source != "id_token":
        raise SubjectRefusedError(
            SubjectRefusal.MISSING, "subject_from is neither id_token:<claim> nor response:<member>"
        )
    id_token = members.get("id_token")
    if id_token is None:
        return None
    claims = _claims(id_token)
    _check_claims(claims, issuer, client_id, nonce, now)
    return _subject(claims.get(name))


def _subject(value: object) -> str:
    # GitHub and others number their accounts; a bool is an int to Python only.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if text is None or text == "":
        raise SubjectRefusedError(SubjectRefusal.MISSING, "the subject is missing")
    if not isinstance(text, str) or not _SUBJECT.fullmatch(text):
        raise SubjectRefusedError(SubjectRefusal.MALFORMED, "the subject is malformed")
    return text


def _claims(id_token: object) -> dict[str, Any]:
    """The payload of a signed JWT in compact form (RFC 7519 §3)."""
    if not isinstance(id_token, str) or len(id_token) > limits.TOKEN_MAX_BYTES:
        raise _malformed("the id_token is no text or too long")
    parts = id_token.split(".", 3)
    # The third part, the signature, is empty for alg "none", which item 6 does not forbid.
    if len(parts) != 3 or not all(_SEGMENT.fullmatch(part) for part in parts[:2]):
        raise _malformed("the id_token is not a signed JWT")
    try:
        payload = parts[1]
        return parse_object(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except JsonRefusedError as error:
        raise _malformed(f"the id_token's claims: {error}") from None
    except ValueError:
        raise _malformed("the id_token is not base64url") from None


def _check_claims(
    claims: Mapping[str, Any], issuer: str, client_id: str, nonce: str, now: datetime
) -> None:
    if claims.get("iss") != issuer:
        raise SubjectRefusedError(
            SubjectRefusal.ISSUER,
            "the id_token is of another issuer",
            expected=issuer,
            came=claims.get("iss", ""),
        )
    audience = claims.get("aud")
    if audience != client_id and not (isinstance(audience, list) and client_id in audience):
        raise SubjectRefusedError(
            SubjectRefusal.AUDIENCE,
            "the id_token is for another audience",
            expected=client_id,
            came=claims.get("aud", ""),
        )
    expiry = claims.get("exp")
    if not isinstance(expiry, int | float) or isinstance(expiry, bool):
        raise SubjectRefusedError(SubjectRefusal.EXPIRED, "the id_token has no expiry")
    if expiry + limits.ID_TOKEN_LEEWAY_S <= now.timestamp():
        raise SubjectRefusedError(
            SubjectRefusal.EXPIRED,
            "the id_token has expired",
            expected=f"later than {now.timestamp() - limits.ID_TOKEN_LEEWAY_S:.0f}",
            came=expiry,
        )
    if nonce and claims.get("nonce") != nonce:
        raise SubjectRefusedError(SubjectRefusal.NONCE, "the id_token has another nonce")


def _malformed(why: str) -> SubjectRefusedError:
    return SubjectRefusedError(SubjectRefusal.MALFORMED, why)
