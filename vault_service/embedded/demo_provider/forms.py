"""Reading requests strictly: every field once, bounded, and the client's authentication."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_plus

from aiohttp import web
from multidict import MultiMapping

from vault_service.embedded.demo_provider.settings import Client

FIELD_MAX_CHARS: Final = 2_048
FIELDS_MAX_COUNT: Final = 30
_FORM: Final = "application/x-www-form-urlencoded"


class OAuthError(Exception):
    """An error answer of RFC 6749 §5.2."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status

    def answer(self) -> web.Response:
        """The JSON answer; 401 names the scheme (RFC 6749 §5.2)."""
        headers = {"WWW-Authenticate": 'Basic realm="demo"'} if self.status == 401 else {}
        body = {"error": self.error, "error_description": self.description}
        return no_store(web.json_response(body, status=self.status, headers=headers))


def single(fields: MultiMapping[object]) -> dict[str, str]:
    """Each field once (RFC 6749 §3.1, §3.2). Raises OAuthError invalid_request."""
    if len(fields) > FIELDS_MAX_COUNT:
        raise OAuthError("invalid_request", "too many fields")
    found: dict[str, str] = {}
    for name, value in fields.items():
        if not isinstance(value, str) or len(value) > FIELD_MAX_CHARS:
            raise OAuthError("invalid_request", "a field is too long or a file")
        if name in found:
            raise OAuthError("invalid_request", "a field stands twice")
        found[name] = value
    return found


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a form body; its size is bounded by the application."""
    if request.content_type != _FORM:
        raise OAuthError("invalid_request", f"the body is not {_FORM}")
    try:
        return single(await request.post())
    except (UnicodeDecodeError, LookupError, ValueError):
        raise OAuthError("invalid_request", "the body cannot be read") from None


def authenticate(
    request: web.Request, form: Mapping[str, str], clients: Mapping[str, Client]
) -> Client:
    """client_secret_basic or client_secret_post, not both (RFC 6749 §2.3.1).

    Raises OAuthError invalid_client (401) or invalid_request.
    """
    header = request.headers.get("Authorization")
    if header is not None:
        if "client_secret" in form:
            raise OAuthError("invalid_request", "two ways of client authentication")
        client_id, secret = _basic(header)
        if form.get("client_id", client_id) != client_id:
            raise OAuthError("invalid_request", "two client ids")
    else:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    client = clients.get(client_id)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    if client is None or not hmac.compare_digest(digest, client.secret_sha256):
        raise OAuthError("invalid_client", "unknown client or wrong secret", 401)
    return client


def no_store(response: web.Response) -> web.Response:
    """Nobody keeps a copy (RFC 6749 §5.1)."""
    response.headers["Cache-Control"] = "no-store"
    return response


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic" or len(encoded) > 2 * FIELD_MAX_CHARS:
            raise ValueError
        name, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        if not colon:
            raise ValueError
    except (ValueError, binascii.Error):
        raise OAuthError("invalid_client", "the Authorization header is not Basic", 401) from None
    # Both parts were form-encoded first.
    return unquote_plus(name), unquote_plus(secret)
