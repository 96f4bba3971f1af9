"""PutSecret and GetSecretValue, at both levels."""

from __future__ import annotations

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain import limits
from vault_service.domain.access import Call, Permission, Resource, ResourceKind
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import SecretName
from vault_service.domain.secret import SecretVersion, secret_binding
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import AuditLog, Clock, SecretStore
from vault_service.usecases.gate import Gate
from vault_service.usecases.recorder import Recorder


class Secrets:
    """Opaque values: the level comes from the name, and with it the DEK and the policy's view."""

    def __init__(
        self,
        *,
        gate: Gate,
        secrets: SecretStore,
        envelopes: Envelopes,
        audit: AuditLog,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._gate = gate
        self._secrets = secrets
        self._envelopes = envelopes
        self._audit = audit
        self._recorder = recorder
        self._clock = clock

    async def put(self, call: Call, name: SecretName, payload: Sensitive) -> SecretVersion:
        """A new version. PAYLOAD_TOO_LARGE, FIELD_MALFORMED (empty), and the gate's reasons."""
        await self._gate.enter(call, name.tenant)
        decision = self._gate.require(call, Permission.PUT_SECRET, _resource(name))
        if not 0 < len(payload) <= limits.PAYLOAD_MAX_BYTES:
            reason = Reason.PAYLOAD_TOO_LARGE if len(payload) else Reason.FIELD_MALFORMED
            raise VaultError(
                reason, f"payload has 1 to {limits.PAYLOAD_MAX_BYTES} bytes, got {len(payload)}"
            )
        for _ in range(limits.COMMIT_ATTEMPTS):
            number = await self._secrets.next_version(name)
            binding = secret_binding(name, number)
            sealer = await self._envelopes.sealer(binding.dek_owner)
            envelope = sealer.seal(binding, payload)
            version = SecretVersion(name, number, envelope, self._clock.now())
            record = self._recorder.done(
                call,
                AuditAction.SECRET_PUT,
                name.tenant,
                str(name),
                decision=decision,
                detail={"version": str(number)},
            )
            if await self._secrets.put(version, record):
                return version
        raise VaultError(
            Reason.ETAG_MISMATCH, "other writers keep storing versions of this secret; try again"
        )

    async def get_value(self, call: Call, name: SecretName) -> tuple[Sensitive, SecretVersion]:
        """The newest value, on record before it leaves. SECRET_NOT_FOUND, ENVELOPE_CORRUPT."""
        await self._gate.enter(call, name.tenant)
        decision = self._gate.require(call, Permission.GET_SECRET_VALUE, _resource(name))
        version = await self._secrets.latest(name)
        if version is None:
            raise VaultError(Reason.SECRET_NOT_FOUND, "no such secret; names are case-sensitive")
        value = await self._envelopes.open(version.binding, version.envelope)
        record = self._recorder.done(
            call,
            AuditAction.SECRET_VALUE_DISCLOSED,
            name.tenant,
            str(name),
            decision=decision,
            detail={"version": str(version.version)},
        )
        await self._audit.append(record)
        return value, version


def _resource(name: SecretName) -> Resource:
    return Resource(ResourceKind.SECRET, str(name), name.tenant, level=name.level, owner=name.owner)
