"""PutOAuthClient and ListOAuthClients: our registrations; credentials go in and never out."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain import limits
from vault_service.domain.access import Call, Permission
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.oauth import ClientAuthMethod, OAuthClient, credential_binding
from vault_service.domain.provider import Provider
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import Clock, OAuthClientStore, Page, ProviderStore
from vault_service.usecases.gate import Gate, oauth_client_resource, tenant_resource
from vault_service.usecases.provider_profile import require_token_params
from vault_service.usecases.recorder import Recorder

_NO_SECRET = Sensitive(b"")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class OAuthClients:
    """The registrations of a tenant."""

    def __init__(
        self,
        *,
        gate: Gate,
        clients: OAuthClientStore,
        providers: ProviderStore,
        envelopes: Envelopes,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._gate = gate
        self._clients = clients
        self._providers = providers
        self._envelopes = envelopes
        self._recorder = recorder
        self._clock = clock

    async def put(
        self,
        call: Call,
        name: OAuthClientName,
        provider_name: ProviderName,
        *,
        client_id: str,
        client_secret: Sensitive | None,
        auth_method: ClientAuthMethod,
        redirect_uris: tuple[str, ...],
        scopes: tuple[str, ...],
        token_params: Mapping[str, str] | None = None,
    ) -> OAuthClient:
        """Create or replace. ``client_secret`` None keeps the stored one; a new OAuthClient without
        one is a public client, since a method with a secret cannot work without it."""
        await self._gate.enter(call, name.tenant)
        resource = oauth_client_resource(name, provider_name.provider)
        decision = self._gate.require(call, Permission.PUT_OAUTH_CLIENT, resource)
        if name.tenant != provider_name.tenant:
            raise _malformed("provider", "belongs to the same tenant")
        _require_redirects(redirect_uris)
        require_token_params(token_params or {}, _malformed)
        provider = await self._providers.get(provider_name)
        if provider is None:
            raise VaultError(
                Reason.PROVIDER_NOT_FOUND, "no such provider; create it first: PutProvider"
            )
        known = await self._clients.get(name)
        _require_same_registration(known, provider_name, client_id)
        method = _method(auth_method, known, client_secret, provider)
        if method is ClientAuthMethod.NONE:
            stays = known is not None and known.is_public
            client_secret = None if stays else _NO_SECRET
        envelope, version = await self._credential(name, provider, known, client_secret)
        now = self._clock.now()
        client = OAuthClient(
            name=name,
            provider=provider_name.provider,
            issuer=provider.profile.issuer,
            client_id=client_id,
            auth_method=method,
            redirect_uris=redirect_uris,
            scopes=scopes,
            credential_envelope=envelope,
            credential_version=version,
            revision=known.revision + 1 if known else 1,
            create_time=known.create_time if known else now,
            update_time=now,
            token_params=dict(token_params or {}),
        )
        action = AuditAction.OAUTH_CLIENT_PUT
        record = self._recorder.done(
            call,
            action,
            name.tenant,
            str(name),
            decision=decision,
            detail={"credential_version": str(version), "auth_method": method.name},
        )
        if not await self._clients.put(client, known.revision if known else 0, record):
            raise VaultError(
                Reason.ETAG_MISMATCH, "the OAuthClient was changed meanwhile; read it and try again"
            )
        return await self._clients.get(name) or client

    async def _credential(
        self,
        name: OAuthClientName,
        provider: Provider,
        known: OAuthClient | None,
        client_secret: Sensitive | None,
    ) -> tuple[bytes, int]:
        if client_secret is None:
            assert known is not None, "a new one without a secret is a public client"
            return known.credential_envelope, known.credential_version
        if len(client_secret) > limits.CLIENT_SECRET_MAX_BYTES:
            raise VaultError(Reason.PAYLOAD_TOO_LARGE, "client_secret has at most 4 KiB")
        version = await self._clients.next_credential_version(name)
        binding = credential_binding(name, version, provider.name.provider)
        sealer = await self._envelopes.sealer(binding.dek_owner)
        return sealer.seal(binding, client_secret), version

    async def list(
        self, call: Call, tenant: str, page_size: int, page_token: str
    ) -> Page[OAuthClient]:
        """One page by id."""
        await self._gate.enter(call, tenant)
        self._gate.require(call, Permission.LIST_OAUTH_CLIENTS, tenant_resource(tenant))
        return await self._clients.list(tenant, page_size, page_token)


def _require_same_registration(
    known: OAuthClient | None, provider: ProviderName, client_id: str
) -> None:
    if known and (known.provider, known.client_id) != (provider.provider, client_id):
        raise _malformed(
            "client_id", "and provider of an existing OAuthClient cannot change: create another one"
        )


def _method(
    asked: ClientAuthMethod,
    known: OAuthClient | None,
    client_secret: Sensitive | None,
    provider: Provider,
) -> ClientAuthMethod:
    """What the row gets. One that has a secret becomes public only where NONE is asked by name."""
    public = ClientAuthMethod.NONE
    if asked is public and client_secret is not None:
        raise _malformed("client_secret", "is empty where auth_method is NONE")
    without = client_secret is None and (known is None or known.is_public)
    method = public if without else asked
    allowed = provider.profile.auth_methods
    if allowed and method not in allowed:
        names = " or ".join(one.name for one in allowed)
        if without and asked is not public:
            raise _malformed("client_secret", f"is needed at this provider, for {names}")
        raise _malformed("auth_method", f"is {names} at this provider")
    return method


def _require_redirects(uris: tuple[str, ...]) -> None:
    """RFC 9700 §2.1 and RFC 8252 §7.3: https, or http on loopback; no fragment; exact."""
    if not 1 <= len(uris) <= limits.REDIRECT_URIS_MAX_COUNT:
        raise _malformed("redirect_uris", f"has 1 to {limits.REDIRECT_URIS_MAX_COUNT} entries")
    for uri in uris:
        try:
            parts = urlsplit(uri)
            host = parts.hostname or ""
        except ValueError:
            raise _malformed("redirect_uris", "are URLs") from None
        secure = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
        plain = uri.isascii() and uri.isprintable() and " " not in uri
        if not secure or not host or "#" in uri or "@" in parts.netloc or not plain:
            raise _malformed(
                "redirect_uris", "are https URLs (http only on loopback) without fragment or user"
            )
        if len(uri) > limits.URI_MAX_CHARS:
            raise _malformed("redirect_uris", f"have at most {limits.URI_MAX_CHARS} characters")


def _malformed(field: str, message: str) -> VaultError:
    return VaultError(
        Reason.FIELD_MALFORMED, f"oauth_client.{field} {message}", metadata={"field": field}
    )
