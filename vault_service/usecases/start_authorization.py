"""StartAuthorization: the URL that a browser is sent to for consent (RFC 6749 §4.1.1, RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain import limits
from vault_service.domain.access import Call, Decision, Permission, Resource, ResourceKind
from vault_service.domain.audit import AuditAction
from vault_service.domain.envelope import DekOwner, Level
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import Authorization, OAuthClient, verifier_binding
from vault_service.domain.provider import Provider, ProviderProfile
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import AuthorizationStore, Clock, Entropy
from vault_service.usecases.credentials import Credentials, require_in_service
from vault_service.usecases.gate import Gate
from vault_service.usecases.recorder import Recorder


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """What the caller wants consent for; ``label`` "" means the OAuthClient's id."""

    oauth_client: OAuthClientName
    owner: str
    redirect_uri: str
    scopes: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True)
class StartedAuthorization:
    """Where to send the browser, and until when."""

    url: str
    state: str
    expire_time: datetime


class StartAuthorization:
    """Remembers what the state is bound to; the PKCE verifier stays here, sealed."""

    def __init__(
        self,
        *,
        gate: Gate,
        credentials: Credentials,
        authorizations: AuthorizationStore,
        envelopes: Envelopes,
        recorder: Recorder,
        entropy: Entropy,
        clock: Clock,
    ) -> None:
        self._gate = gate
        self._credentials = credentials
        self._authorizations = authorizations
        self._envelopes = envelopes
        self._recorder = recorder
        self._entropy = entropy
        self._clock = clock

    async def __call__(self, call: Call, request: AuthorizationRequest) -> StartedAuthorization:
        """Raises REDIRECT_URI_NOT_REGISTERED, OAUTH_CLIENT_NOT_FOUND and the gate's reasons."""
        name = request.oauth_client
        await self._gate.enter(call, name.tenant)
        label = request.label or name.oauth_client
        client, provider, decision = await self._require(call, request, label)
        require_in_service(client)
        if request.redirect_uri not in client.redirect_uris:
            raise VaultError(
                Reason.REDIRECT_URI_NOT_REGISTERED,
                "redirect_uri must be one of the OAuthClient's, character by character",
            )
        state, nonce, verifier = (self._random_text() for _ in range(3))
        authorization_id = self._entropy.uuid7()
        sealer = await self._envelopes.sealer(DekOwner(name.tenant, Level.USER, request.owner))
        binding = verifier_binding(name.tenant, request.owner, authorization_id, client.provider)
        now = self._clock.now()
        authorization = Authorization(
            tenant=name.tenant,
            authorization_id=authorization_id,
            state_hash=hashlib.sha256(state.encode()).digest(),
            caller=call.caller.spiffe_id,
            owner=request.owner,
            label=label,
            oauth_client=name.oauth_client,
            provider=client.provider,
            redirect_uri=request.redirect_uri,
            scopes=request.scopes or client.scopes,
            nonce=nonce,
            verifier_envelope=sealer.seal(binding, Sensitive.from_text(verifier)),
            create_time=now,
            expire_time=now,
            code_hash=None,
            claim_time=None,
            grant_id=None,
            read_time=now,
        )
        action = AuditAction.AUTHORIZATION_STARTED
        detail = {"owner": request.owner, "label": label}
        record = self._recorder.done(
            call, action, name.tenant, str(name), decision=decision, detail=detail
        )
        expire_time = await self._authorizations.insert(
            authorization, limits.AUTHORIZATION_LIFE_S, record
        )
        url = authorization_url(provider.profile, client, authorization, state, verifier)
        return StartedAuthorization(url, state, expire_time)

    async def _require(
        self, call: Call, request: AuthorizationRequest, label: str
    ) -> tuple[OAuthClient, Provider, Decision]:
        name, start = request.oauth_client, Permission.START_AUTHORIZATION
        try:
            client, provider = await self._credentials.find(name)
        except VaultError as error:
            if error.reason is Reason.OAUTH_CLIENT_NOT_FOUND:
                # Who may not start here is not told whether there is such an OAuthClient.
                unknown = authorization_resource(name, "", request.owner, label, request.scopes)
                self._gate.require(call, start, unknown)
            raise
        scopes = request.scopes or client.scopes
        resource = authorization_resource(name, client.provider, request.owner, label, scopes)
        return client, provider, self._gate.require(call, start, resource)

    def _random_text(self) -> str:
        # 256 bits; 43 characters, which is also the least RFC 7636 §4.1 asks of a verifier.
        return base64.urlsafe_b64encode(self._entropy.token(32)).rstrip(b"=").decode()


def authorization_resource(
    client: OAuthClientName, provider: str, owner: str, label: str, scopes: tuple[str, ...]
) -> Resource:
    """The grant to come, as the policy sees it: with the scopes that are asked for."""
    return Resource(
        ResourceKind.GRANT,
        f"tenants/{client.tenant}/owners/{owner}/grantAliases/{label}",
        client.tenant,
        level=Level.USER,
        owner=owner,
        provider=provider,
        oauth_client=client.oauth_client,
        label=label,
        scopes=frozenset(scopes),
    )


def authorization_url(
    profile: ProviderProfile,
    client: OAuthClient,
    authorization: Authorization,
    state: str,
    verifier: str,
) -> str:
    """The authorization request; a query that the endpoint has already is kept (RFC 6749 §3.1)."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    asked = dict(profile.authorization_params) | {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": authorization.redirect_uri,
        "state": state,
        "code_challenge": challenge.rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    if authorization.scopes:
        asked["scope"] = profile.scope_separator.join(authorization.scopes)
    if "openid" in authorization.scopes:
        asked["nonce"] = authorization.nonce
    parts = urlsplit(profile.authorization_endpoint)
    kept = [pair for pair in parse_qsl(parts.query) if pair[0] not in asked]
    return urlunsplit(parts._replace(query=urlencode(kept + list(asked.items()))))
