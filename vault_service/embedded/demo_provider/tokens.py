"""The token and revocation endpoints."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from vault_service.embedded.demo_provider import forms
from vault_service.embedded.demo_provider.forms import OAuthError
from vault_service.embedded.demo_provider.id_token import ID_TOKEN_LIFE_S, Signer, base64url
from vault_service.embedded.demo_provider.settings import Client, Settings
from vault_service.embedded.demo_provider.store import Issued, RefusedError, Store

_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 §4.1
_GRANT_TYPES: Final = ("authorization_code", "refresh_token")


class TokenEndpoints:
    """POST /token and POST /revoke."""

    def __init__(
        self, settings: Settings, store: Store, signer: Signer, now: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._store = store
        self._signer = signer
        self._now = now

    async def token(self, request: web.Request) -> web.Response:
        """RFC 6749 §4.1.3 and §6. Every POST is counted in the ledger, whatever comes of it."""
        grant_type, outcome = "other", "issued"
        try:
            form = await forms.read_form(request)
            if form.get("grant_type") in _GRANT_TYPES:
                grant_type = form["grant_type"]
            client = forms.authenticate(request, form, self._settings.clients)
            return forms.no_store(web.json_response(self._issue(form, client)))
        except OAuthError as error:
            outcome = error.description if error.error == "invalid_grant" else error.error
            return error.answer()
        finally:
            self._store.count_post(grant_type, outcome)

    async def revoke(self, request: web.Request) -> web.Response:
        """RFC 7009 §2.1; an unknown token is a success (§2.2)."""
        try:
            form = await forms.read_form(request)
            client = forms.authenticate(request, form, self._settings.clients)
            if not form.get("token"):
                raise OAuthError("invalid_request", "token is missing")
        except OAuthError as error:
            return error.answer()
        self._store.revoke(form["token"], client.client_id)
        return forms.no_store(web.Response())

    def _issue(self, form: Mapping[str, str], client: Client) -> dict[str, Any]:
        grant_type = form.get("grant_type", "")
        try:
            if grant_type == "authorization_code":
                issued = self._redeem(form, client)
                return self._answer(issued) | self._identity(issued)
            if grant_type == "refresh_token":
                return self._refresh(form, client)
        except RefusedError as refused:
            raise OAuthError("invalid_grant", str(refused)) from refused
        raise OAuthError("unsupported_grant_type", f"there are {', '.join(_GRANT_TYPES)}")

    def _redeem(self, form: Mapping[str, str], client: Client) -> Issued:
        code, verifier = form.get("code", ""), form.get("code_verifier", "")
        if not code:
            raise OAuthError("invalid_request", "code is missing")
        if not _VERIFIER.fullmatch(verifier):
            raise OAuthError("invalid_request", "code_verifier is missing or malformed")
        challenge = base64url(hashlib.sha256(verifier.encode()).digest())
        redirect_uri = form.get("redirect_uri", "")
        return self._store.redeem_code(code, client.client_id, redirect_uri, challenge)

    def _refresh(self, form: Mapping[str, str], client: Client) -> dict[str, Any]:
        refresh_token = form.get("refresh_token", "")
        if not refresh_token:
            raise OAuthError("invalid_request", "refresh_token is missing")
        if "scope" in form:
            raise OAuthError("invalid_scope", "a refresh keeps the scope of its consent")
        return self._answer(self._store.refresh(refresh_token, client.client_id))

    def _answer(self, issued: Issued) -> dict[str, Any]:
        return {
            "access_token": issued.access_token,
            "token_type": "Bearer",
            "expires_in": self._settings.access_life_s,
            "refresh_token": issued.refresh_token,
            "scope": issued.consent.scope,
        }

    def _identity(self, issued: Issued) -> dict[str, Any]:
        if "openid" not in issued.consent.scope.split():
            return {}
        now = int(self._now())
        claims = {
            "iss": self._settings.issuer,
            "sub": issued.consent.user,
            "aud": issued.consent.client_id,
            "iat": now,
            "exp": now + ID_TOKEN_LIFE_S,
        }
        if issued.consent.nonce:
            claims["nonce"] = issued.consent.nonce
        return {"id_token": self._signer.sign(claims)}
