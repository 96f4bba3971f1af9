"""PutProvider and ListProviders."""

from __future__ import annotations

from vault_service.domain import limits
from vault_service.domain.access import Call, Permission, Resource, ResourceKind
from vault_service.domain.audit import AuditAction
from vault_service.domain.names import ProviderName
from vault_service.domain.provider import Provider, ProviderProfile
from vault_service.ports import EndpointGuard, Page, ProviderStore
from vault_service.usecases.gate import Gate, tenant_resource
from vault_service.usecases.provider_profile import malformed, require_sound
from vault_service.usecases.recorder import Recorder


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
        require_sound(profile, self._guard)
        known = await self._providers.get(name)
        if known is not None and known.profile.issuer != profile.issuer:
            raise malformed("issuer", "of an existing provider cannot change: create another one")
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
