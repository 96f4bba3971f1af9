"""A provider's endpoints, and how asking them fails."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from vault_service.domain.consent import TokenKind
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import ClientCredential, Liveness
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive


class TokenEndpoint(Protocol):
    """What a provider is asked. Raises ``TokenEndpointError`` (domain.answers), nothing else; each
    method is one POST at most, without a retry (a probe's GET may go out twice)."""

    async def exchange_code(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        code: Sensitive,
        redirect_uri: str,
        verifier: Sensitive,
    ) -> HttpAnswer:
        """RFC 6749 §4.1.3 with RFC 7636 §4.5: the answer as it came, of any status, to be stored
        before it is read by ``domain.token_answer``. Raises NOT_SENT and IN_DOUBT only."""

    async def refresh(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        token_endpoint: str,
        refresh_token: Sensitive,
        scopes: Collection[str] = (),
        post_limit_s: float,
        answer_limit_s: float,
    ) -> HttpAnswer:
        """RFC 6749 §6, at the endpoint pinned in the grant: the answer as it came, of any status,
        to be stored before it is read by ``domain.token_answer.read_refresh``. Raises NOT_SENT and
        IN_DOUBT only. ``scopes`` are named where the profile requires it.

        Nothing is sent later than ``post_limit_s`` from now; the answer to what was sent is waited
        for until ``answer_limit_s``.
        """

    async def revoke(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        token: Sensitive,
        kind: TokenKind = TokenKind.REFRESH,
    ) -> None:
        """RFC 7009 §2.1. An unknown token is a success (§2.2)."""

    async def introspect(
        self, profile: ProviderProfile, client: ClientCredential, *, refresh_token: Sensitive
    ) -> Liveness:
        """RFC 7662: whether a refresh token is alive. Raises nothing: what is not clear, or not
        offered by the provider, is UNKNOWN."""

    async def probe_access_token(
        self, profile: ProviderProfile, *, access_token: Sensitive
    ) -> Liveness:
        """Whether an access token is alive, by the profile's probe endpoint. Likewise."""
