"""PutSecret and GetSecretValue, at both levels."""

from __future__ import annotations

import hmac
import json

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain import limits
from vault_service.domain.access import Call, Decision, Permission
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import SecretName
from vault_service.domain.secret import (
    NO_CHANGES,
    Secret,
    SecretChanges,
    SecretRequest,
    SecretVersion,
    SecretVersionState,
    merged_labels,
    secret_binding,
    secret_owner,
)
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import AuditLog, Clock, SecretStore
from vault_service.usecases.gate import Gate
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.secret_bounds import (
    etag_mismatch,
    require_etag,
    require_few,
    require_sound,
    secret_not_found,
    secret_resource,
)


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

    async def put(
        self,
        call: Call,
        name: SecretName,
        payload: Sensitive,
        changes: SecretChanges = NO_CHANGES,
    ) -> SecretVersion:
        """A new version. PAYLOAD_TOO_LARGE, FIELD_MALFORMED, REQUEST_ID_REUSED, ETAG_MISMATCH,
        and the gate's reasons."""
        await self._gate.enter(call, name.tenant)
        decision = self._gate.require(call, Permission.PUT_SECRET, secret_resource(name))
        require_sound(payload, changes, self._clock.now())
        request = await self._request(call, name, payload, changes)
        for _ in range(limits.COMMIT_ATTEMPTS):
            answered = await self._answered(name.tenant, request)
            if answered is not None:
                return answered
            known = await self._secrets.get(name)
            require_etag(known, changes.etag)
            labels = merged_labels(known.labels if known else {}, changes.labels)
            if changes.labels:
                require_few(labels)
            version = await self._sealed(name, known, payload, changes)
            if await self._secrets.put(
                version,
                self._put_record(call, decision, version),
                labels=labels,
                expected_revision=known.revision if known else 0,
                request=request,
            ):
                return await self._secrets.get_version(name, version.version) or version
        raise etag_mismatch("other writers keep storing versions of this secret; try again")

    async def get_value(
        self, call: Call, name: SecretName, number: int = 0
    ) -> tuple[Sensitive, SecretVersion]:
        """The value of version ``number``, 0 for the newest, on record before it leaves.

        SECRET_NOT_FOUND, SECRET_VERSION_DESTROYED, SECRET_EXPIRED, ENVELOPE_CORRUPT.
        """
        await self._gate.enter(call, name.tenant)
        decision = self._gate.require(call, Permission.GET_SECRET_VALUE, secret_resource(name))
        for _ in range(limits.DISCLOSURE_ATTEMPTS):
            version = await self._readable(name, number)
            if version.envelope is None:
                raise VaultError(Reason.ENVELOPE_CORRUPT, "the version's row has no value")
            value = await self._envelopes.open(version.binding, version.envelope)
            record = self._recorder.done(
                call,
                AuditAction.SECRET_VALUE_DISCLOSED,
                name.tenant,
                str(name),
                decision=decision,
                detail={"version": str(version.version)},
            )
            if await self._audit.disclose_secret(record, version):
                return value, version
        raise VaultError(
            Reason.STORE_UNREACHABLE, "the secret keeps changing; try again", retry_after_s=0.2
        )

    async def _request(
        self, call: Call, name: SecretName, payload: Sensitive, changes: SecretChanges
    ) -> SecretRequest | None:
        if not changes.request_id:
            return None
        expires = changes.expire_time.isoformat() if changes.expire_time else ""
        facts = [str(name), changes.etag, sorted(changes.labels.items()), expires]
        head = json.dumps(facts).encode()
        # The length first: no two requests are the same bytes.
        asked = Sensitive(len(head).to_bytes(4) + head + payload.reveal())
        digest = await self._envelopes.request_digest(secret_owner(name), asked)
        return SecretRequest(call.caller.spiffe_id, changes.request_id, digest)

    async def _answered(self, tenant: str, request: SecretRequest | None) -> SecretVersion | None:
        """The version that this very request made before."""
        if request is None:
            return None
        known = await self._secrets.answered(tenant, request.caller, request.request_id)
        if known is None:
            return None
        if not hmac.compare_digest(known.digest, request.digest):
            raise VaultError(
                Reason.REQUEST_ID_REUSED,
                "this request_id was used for another request; make a new one for each",
            )
        return await self._secrets.get_version(known.name, known.version)

    async def _sealed(
        self, name: SecretName, known: Secret | None, payload: Sensitive, changes: SecretChanges
    ) -> SecretVersion:
        number = known.version + 1 if known else 1
        binding = secret_binding(name, number)
        sealer = await self._envelopes.sealer(binding.dek_owner)
        envelope = sealer.seal(binding, payload)
        return SecretVersion(name, number, envelope, self._clock.now(), changes.expire_time)

    def _put_record(self, call: Call, decision: Decision, version: SecretVersion) -> AuditRecord:
        detail = {"version": str(version.version)}
        if version.expire_time is not None:
            detail["expire_time"] = version.expire_time.isoformat()
        name = version.name
        action = AuditAction.SECRET_PUT
        return self._recorder.done(
            call, action, name.tenant, str(name), decision=decision, detail=detail
        )

    async def _readable(self, name: SecretName, number: int) -> SecretVersion:
        """The version that is asked for; raises why its value cannot be had."""
        version = (
            await self._secrets.get_version(name, number)
            if number
            else await self._secrets.latest(name)
        )
        if version is None:
            raise secret_not_found()
        if version.state is SecretVersionState.EXPIRED:
            raise VaultError(
                Reason.SECRET_EXPIRED,
                f"version {version.version} has expired; store a new one",
            )
        if version.state is SecretVersionState.DESTROYED:
            secret = await self._secrets.get(name)
            if secret is None or secret.delete_time is not None:
                raise secret_not_found("deleted")
            raise VaultError(
                Reason.SECRET_VERSION_DESTROYED,
                f"version {version.version} was destroyed; store a new one, or ask for another "
                "version by its number",
            )
        return version
