"""AddClientCredential and RetireClientCredential: client secrets that overlap while they change."""

from __future__ import annotations

from typing import Final

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain import limits
from vault_service.domain.access import Call, Decision, Permission
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import OAuthClient, SealedCredential, credential_binding
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import OAuthClientStore
from vault_service.usecases.gate import Gate, oauth_client_resource
from vault_service.usecases.recorder import Recorder

_PUBLIC: Final = "this OAuthClient is a public client, which has no secret"


class ClientCredentials:
    """The newest one is used; secrets go in and never out."""

    def __init__(
        self,
        *,
        gate: Gate,
        clients: OAuthClientStore,
        envelopes: Envelopes,
        recorder: Recorder,
    ) -> None:
        self._gate = gate
        self._clients = clients
        self._envelopes = envelopes
        self._recorder = recorder

    async def add(self, call: Call, name: OAuthClientName, secret: Sensitive) -> OAuthClient:
        """FIELD_MALFORMED, PAYLOAD_TOO_LARGE, OAUTH_CLIENT_NOT_FOUND, CREDENTIAL_LIMIT,
        ETAG_MISMATCH."""
        await self._gate.enter(call, name.tenant)
        permission = Permission.ADD_CLIENT_CREDENTIAL
        client, decision = await find_client(self._gate, self._clients, call, permission, name)
        if client.is_public:
            raise VaultError(
                Reason.FIELD_MALFORMED,
                f"{_PUBLIC}; it gets one by PutOAuthClient with an auth_method that has a secret",
                metadata={"field": "oauth_client"},
            )
        if not 0 < len(secret) <= limits.CLIENT_SECRET_MAX_BYTES:
            reason = Reason.PAYLOAD_TOO_LARGE if len(secret) else Reason.FIELD_MALFORMED
            raise VaultError(reason, "client_secret has 1 byte to 4 KiB")
        if len(client.credentials) >= limits.CLIENT_CREDENTIALS_MAX_COUNT:
            raise _limit(f"it has {len(client.credentials)} credentials already; retire one first")
        version = await self._clients.next_credential_version(name)
        binding = credential_binding(name, version, client.provider)
        sealer = await self._envelopes.sealer(binding.dek_owner)
        sealed = SealedCredential(version, sealer.seal(binding, secret))
        record = self._record(call, AuditAction.CLIENT_CREDENTIAL_ADDED, name, decision, version)
        if not await self._clients.add_credential(client, sealed, record):
            raise _moved()
        return await self._clients.get(name) or client

    async def retire(self, call: Call, name: OAuthClientName, version: int) -> OAuthClient:
        """OAUTH_CLIENT_NOT_FOUND, CREDENTIAL_NOT_FOUND, CREDENTIAL_LIMIT, ETAG_MISMATCH."""
        await self._gate.enter(call, name.tenant)
        permission = Permission.RETIRE_CLIENT_CREDENTIAL
        client, decision = await find_client(self._gate, self._clients, call, permission, name)
        if client.is_public:
            raise VaultError(Reason.CREDENTIAL_NOT_FOUND, f"{_PUBLIC}, so none can be retired")
        if version not in {one.version for one in client.credentials}:
            raise VaultError(
                Reason.CREDENTIAL_NOT_FOUND,
                "no such credential, or it is retired; list OAuthClients to see what there is",
            )
        if len(client.credentials) == 1:
            raise _limit("it is the last credential; add another one first")
        record = self._record(call, AuditAction.CLIENT_CREDENTIAL_RETIRED, name, decision, version)
        if not await self._clients.retire_credential(client, version, record):
            raise _moved()
        return await self._clients.get(name) or client

    def _record(
        self,
        call: Call,
        action: AuditAction,
        name: OAuthClientName,
        decision: Decision,
        version: int,
    ) -> AuditRecord:
        detail = {"credential_version": str(version)}
        return self._recorder.done(
            call, action, name.tenant, str(name), decision=decision, detail=detail
        )


async def find_client(
    gate: Gate,
    clients: OAuthClientStore,
    call: Call,
    permission: Permission,
    name: OAuthClientName,
) -> tuple[OAuthClient, Decision]:
    """The OAuthClient and the allowing decision. Who may not is not told whether it exists.

    CALLER_NOT_ALLOWED, OAUTH_CLIENT_NOT_FOUND.
    """
    client = await clients.get(name)
    resource = oauth_client_resource(name, client.provider if client else "")
    decision = gate.require(call, permission, resource)
    if client is None:
        raise VaultError(
            Reason.OAUTH_CLIENT_NOT_FOUND,
            "no such OAuthClient; the platform team makes one with: tokenvault client put",
        )
    return client, decision


def _limit(message: str) -> VaultError:
    return VaultError(Reason.CREDENTIAL_LIMIT, message)


def _moved() -> VaultError:
    return VaultError(
        Reason.ETAG_MISMATCH, "the OAuthClient was changed meanwhile; read it and try again"
    )
