"""The demo provider's routes: what is served where."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Final

from aiohttp import web

from vault_service.embedded.demo_provider import forms
from vault_service.embedded.demo_provider.consent import ConsentPages
from vault_service.embedded.demo_provider.id_token import Signer
from vault_service.embedded.demo_provider.settings import SCOPES, Settings
from vault_service.embedded.demo_provider.store import Store
from vault_service.embedded.demo_provider.tokens import TokenEndpoints

_BODY_MAX_BYTES: Final = 16_384
_BEARER: Final = "bearer"


class Facts:
    """What the provider tells of itself, and the one resource that its tokens open."""

    def __init__(self, settings: Settings, store: Store, signer: Signer) -> None:
        self._settings = settings
        self._store = store
        self._signer = signer

    async def metadata(self, request: web.Request) -> web.Response:
        """RFC 8414 §2; OpenID Connect Discovery §3 has the same members."""
        issuer = self._settings.issuer
        methods = ["client_secret_basic", "client_secret_post"]
        return web.json_response(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "revocation_endpoint": f"{issuer}/revoke",
                "jwks_uri": f"{issuer}/jwks",
                "scopes_supported": list(SCOPES),
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": methods,
                "revocation_endpoint_auth_methods_supported": methods,
                "authorization_response_iss_parameter_supported": True,
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            }
        )

    async def jwks(self, request: web.Request) -> web.Response:
        """The key that verifies id_tokens (RFC 7517 §5)."""
        return web.json_response({"keys": [dict(self._signer.jwk)]})

    async def whoami(self, request: web.Request) -> web.Response:
        """Who consented, for a live access token (RFC 6750 §2.1, §3)."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        found = self._store.whose(token) if scheme.lower() == _BEARER else None
        if found is None:
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            body = {"error": "invalid_token"}
            return forms.no_store(web.json_response(body, status=401, headers=challenge))
        consent, left_s = found
        return forms.no_store(
            web.json_response(
                {"sub": consent.user, "scope": consent.scope, "expires_in_s": round(left_s, 3)}
            )
        )

    async def ledger(self, request: web.Request) -> web.Response:
        """How many POSTs the token endpoint has had, by grant type and outcome."""
        rows = self._store.ledger()
        by_outcome = [
            {"grant_type": grant_type, "outcome": outcome, "posts": posts}
            for grant_type, outcome, posts in rows
        ]
        return web.json_response(
            {"token_posts": sum(posts for _, _, posts in rows), "by_outcome": by_outcome}
        )


def make_app(settings: Settings, store: Store, now: Callable[[], float]) -> web.Application:
    """All of it, ready to run."""
    signer = Signer()
    facts = Facts(settings, store, signer)
    pages = ConsentPages(settings, store)
    endpoints = TokenEndpoints(settings, store, signer, now)
    app = web.Application(client_max_size=_BODY_MAX_BYTES)
    app.router.add_get("/authorize", pages.show)
    app.router.add_post("/authorize", pages.decide)
    app.router.add_post("/token", endpoints.token)
    app.router.add_post("/revoke", endpoints.revoke)
    app.router.add_get("/.well-known/oauth-authorization-server", facts.metadata)
    app.router.add_get("/.well-known/openid-configuration", facts.metadata)
    app.router.add_get("/jwks", facts.jwks)
    app.router.add_get("/api/whoami", facts.whoami)
    app.router.add_get("/ledger", facts.ledger)
    return app


def tls(settings: Settings) -> ssl.SSLContext:
    """TLS 1.2 or newer with the certificate of the development CA."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.certificate_file, settings.key_file)
    return context
