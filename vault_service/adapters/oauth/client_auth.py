"""How an OAuthClient proves itself at a token endpoint (RFC 6749 §2.3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote_plus

from vault_service.domain.oauth import ClientAuthMethod, ClientCredential
from vault_service.domain.sensitive import Sensitive

Fields = Mapping[str, str | Sensitive]


def authenticated(client: ClientCredential, fields: Fields) -> tuple[Fields, Sensitive | None]:
    """The form to send, and the bytes of the Authorization header or None."""
    if client.auth_method is ClientAuthMethod.CLIENT_SECRET_BASIC:
        return fields, _basic(client)
    if client.auth_method is ClientAuthMethod.NONE:
        # A public client names itself (§3.2.1); PKCE is what binds its code to it.
        return {**fields, "client_id": client.client_id}, None
    posted: Fields = {"client_id": client.client_id, "client_secret": client.client_secret}
    return {**fields, **posted}, None


def _basic(client: ClientCredential) -> Sensitive:
    # §2.3.1 encodes both as a form first, so that a colon in the id stays unambiguous.
    secret = quote_plus(client.client_secret.reveal())
    return Sensitive.from_text(f"{quote_plus(client.client_id)}:{secret}")
