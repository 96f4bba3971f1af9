"""PutProvider and ListProviders."""

from __future__ import annotations

import re

from vault_service.domain import limits
from vault_service.domain.access import Call, Permission, Resource, ResourceKind
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import ProviderName
from vault_service.domain.provider import Provider, ProviderProfile, RefreshClass
from vault_service.ports import EndpointGuard, Page, ProviderStore
from vault_service.usecases.gate import Gate, tenant_resource
from vault_service.usecases.recorder import Recorder

_SUBJECT_FROM = re.compile(r"(id_token|response):[A-Za-z0-9_.-]{1,64}")
_PARAMETER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_RESERVED = frozenset(
    "response_type client_id redirect_uri scope state nonce code_challenge "
    "code_challenge_method client_secret request request_uri response_mode".split()
)
_PARAMS_MAX = 20
_GRACE_MAX_S = 30 * 86_400


class Providers:
    """The registry of authorization servers of a tenant."""

    def __init__(
        self, *, gate: Gate, providers: ProviderStore, guard: EndpointGuard, recorder: Recorder
    ) -> None:
        self._gate = gate
        self._providers = providers
        self._guard = guard
        self._recorder = recorder

    async def put(self, call: Call, name: ProviderName, profile: ProviderProfile) -> Provider:
        """Create or replace. FIELD_MALFORMED, ENDPOINT_NOT_ALLOWED and the gate's reasons."""
        await self._gate.enter(call, name.tenant)
        resource = Resource(ResourceKind.PROVIDER, str(name), name.tenant, provider=name.provider)
        decision = self._gate.require(call, Permission.PUT_PROVIDER, resource)
        _require_sound(profile)
        for url in (
            profile.issuer,
            profile.authorization_endpoint,
            profile.token_endpoint,
            profile.revocation_endpoint,
        ):
            if url:
                self._guard.check(url)
        known = await self._providers.get(name)
        if known is not None and known.profile.issuer != profile.issuer:
            raise _malformed("issuer", "of an existing provider cannot change: create another one")
        record = self._recorder.done(
            call,
            AuditAction.PROVIDER_PUT,
            name.tenant,
            str(name),
            decision=decision,
            detail={"token_endpoint": profile.token_endpoint[: limits.TEXT_MAX_CHARS]},
        )
        return await self._providers.put(name, profile, record)

    async def list(
        self, call: Call, tenant: str, page_size: int, page_token: str
    ) -> Page[Provider]:
        """One page by id."""
        await self._gate.enter(call, tenant)
        self._gate.require(call, Permission.LIST_PROVIDERS, tenant_resource(tenant))
        return await self._providers.list(tenant, page_size, page_token)


def _require_sound(profile: ProviderProfile) -> None:
    for field in ("issuer", "authorization_endpoint", "token_endpoint"):
        if not getattr(profile, field):
            raise _malformed(field, "is needed, an https URL")
    if not _SUBJECT_FROM.fullmatch(profile.subject_from):
        raise _malformed("subject_from", "is 'id_token:{claim}' or 'response:{member}'")
    if profile.scope_separator not in (" ", ",", "+"):
        raise _malformed("scope_separator", "is ' ', ',' or '+'")
    graceful = profile.refresh_class is RefreshClass.G
    if not (1 if graceful else 0) <= profile.grace_s <= (_GRACE_MAX_S if graceful else 0):
        raise _malformed("grace_s", "is 1 to 2592000 for class G and 0 for every other")
    if not 1 <= profile.default_life_s <= limits.TOKEN_LIFE_MAX_S:
        raise _malformed("default_life_s", "is 1 to 31536000 seconds")
    if len(profile.authorization_params) > _PARAMS_MAX:
        raise _malformed("authorization_params", f"has at most {_PARAMS_MAX} entries")
    for key, value in profile.authorization_params.items():
        if not _PARAMETER.fullmatch(key) or len(value) > limits.TEXT_MAX_CHARS:
            raise _malformed("authorization_params", "has short names and values")
        if key in _RESERVED:
            raise _malformed("authorization_params", f"cannot set {key}: the service does")


def _malformed(field: str, message: str) -> VaultError:
    return VaultError(
        Reason.FIELD_MALFORMED, f"provider.{field} {message}", metadata={"field": field}
    )
