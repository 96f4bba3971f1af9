"""The authorization endpoint: a page with buttons, and the redirect that a button gives."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from vault_service.embedded.demo_provider import forms
from vault_service.embedded.demo_provider.forms import OAuthError
from vault_service.embedded.demo_provider.settings import CODE_LIFE_S, SCOPES, USERS, Settings
from vault_service.embedded.demo_provider.store import Consent, Store

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # RFC 7636 §4.2, SHA-256
_CARRIED: Final = (
    *("response_type", "client_id", "redirect_uri", "scope", "state", "nonce"),
    *("code_challenge", "code_challenge_method"),
)
_SECURITY_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1>{body}</body></html>
"""


@dataclass(frozen=True, slots=True)
class _Asked:
    """An authorization request whose client and redirect URI are known to be right."""

    fields: Mapping[str, str]

    @property
    def redirect_uri(self) -> str:
        return self.fields["redirect_uri"]

    @property
    def scope(self) -> str:
        return self.fields.get("scope", "")


class ConsentPages:
    """GET shows the page, POST is a button. Nothing is remembered between: POST is judged anew."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store

    async def show(self, request: web.Request) -> web.Response:
        """The page with the request in hidden fields, or a refusal."""
        try:
            asked = self._asked(forms.single(request.query))
        except OAuthError as error:
            return _refused(error)
        wrong = _wrong(asked)
        if wrong is not None:
            return self._back(asked, {"error": wrong.error, "error_description": wrong.description})
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(asked.fields[name])}">'
            for name in _CARRIED
            if name in asked.fields
        )
        buttons = "".join(
            f'<p><button name="user" value="{user}">Allow as {user}</button></p>' for user in USERS
        )
        body = (
            f"<p><b>{html.escape(asked.fields['client_id'])}</b> asks for: "
            f"{html.escape(asked.scope) or 'nothing'}</p>"
            f'<form method="post" action="/authorize">{hidden}{buttons}'
            '<p><button name="user" value="">Deny</button></p></form>'
        )
        return _page("Demo provider", body, 200)

    async def decide(self, request: web.Request) -> web.Response:
        """Back to the client with a code, or with access_denied (RFC 6749 §4.1.2)."""
        try:
            form = await forms.read_form(request)
            asked = self._asked(form)
        except OAuthError as error:
            return _refused(error)
        wrong = _wrong(asked)
        if wrong is not None:
            return self._back(asked, {"error": wrong.error, "error_description": wrong.description})
        user = form.get("user", "")
        if user not in USERS:
            return self._back(asked, {"error": "access_denied"})
        consent = Consent(form["client_id"], user, asked.scope, form.get("nonce", ""))
        code = self._store.new_code(
            consent, asked.redirect_uri, form["code_challenge"], CODE_LIFE_S
        )
        return self._back(asked, {"code": code})

    def _asked(self, fields: Mapping[str, str]) -> _Asked:
        """Raises OAuthError where we must not redirect (RFC 6749 §4.1.2.1)."""
        client = self._settings.clients.get(fields.get("client_id", ""))
        if client is None:
            raise OAuthError("invalid_request", "unknown client_id")
        if fields.get("redirect_uri") not in client.redirect_uris:
            raise OAuthError("invalid_request", "redirect_uri is not registered")
        return _Asked(fields)

    def _back(self, asked: _Asked, answer: Mapping[str, str]) -> web.Response:
        parameters = dict(answer)
        if "state" in asked.fields:
            parameters["state"] = asked.fields["state"]
        parameters["iss"] = self._settings.issuer
        mark = "&" if urlsplit(asked.redirect_uri).query else "?"
        location = f"{asked.redirect_uri}{mark}{urlencode(parameters)}"
        return web.Response(status=303, headers={**_SECURITY_HEADERS, "Location": location})


def _wrong(asked: _Asked) -> OAuthError | None:
    fields = asked.fields
    if fields.get("response_type") != "code":
        return OAuthError("unsupported_response_type", "only code")
    if fields.get("code_challenge_method") != "S256":
        return OAuthError("invalid_request", "code_challenge_method must be S256")
    if not _CHALLENGE.fullmatch(fields.get("code_challenge", "")):
        return OAuthError("invalid_request", "code_challenge must be 43 characters of base64url")
    if not set(asked.scope.split()) <= set(SCOPES):
        return OAuthError("invalid_scope", f"there are {' '.join(SCOPES)}")
    return None


def _refused(error: OAuthError) -> web.Response:
    return _page("This link does not work", f"<p>{html.escape(error.description)}</p>", 400)


def _page(title: str, body: str, status: int) -> web.Response:
    return web.Response(
        text=_PAGE.format(title=title, body=body),
        status=status,
        content_type="text/html",
        headers=_SECURITY_HEADERS,
    )
