"""Builds AuditRecords: who, what, under which policy."""

from __future__ import annotations

from collections.abc import Mapping

from vault_service.domain import limits
from vault_service.domain.access import Call, Decision
from vault_service.domain.audit import AuditAction, AuditRecord, Outcome
from vault_service.domain.errors import Reason, VaultError
from vault_service.ports import Entropy

_DENIALS = frozenset({Reason.CALLER_UNKNOWN, Reason.CALLER_NOT_ALLOWED, Reason.KILL_SWITCH})


def shown(text: str) -> str:
    """Outside text for a record: printable ASCII, cut at 256 characters."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return escaped[: limits.TEXT_MAX_CHARS]


class Recorder:
    """Makes the records of one process; ``deployment`` and ``instance`` name it."""

    def __init__(self, deployment: str, instance: str, entropy: Entropy) -> None:
        self._deployment = deployment
        self._instance = instance
        self._entropy = entropy

    def done(
        self,
        call: Call,
        action: AuditAction,
        tenant: str,
        resource: str,
        *,
        decision: Decision | None = None,
        detail: Mapping[str, str] | None = None,
        token_fingerprint: str = "",
    ) -> AuditRecord:
        """The record of something that was done."""
        facts = dict(detail or {})
        if decision is not None:
            facts |= {"policy_rule": decision.rule, "policy_version": decision.policy_version}
        return self._record(
            call, action, Outcome.ALLOW, "", tenant, resource, facts, token_fingerprint
        )

    def failed(
        self,
        call: Call,
        action: AuditAction,
        error: VaultError,
        tenant: str,
        resource: str,
    ) -> AuditRecord:
        """The record of a refusal or a failure."""
        denied = error.reason in _DENIALS or "policy_rule" in error.recorded
        outcome = Outcome.DENY if denied else Outcome.ERROR
        detail = {key: shown(value) for key, value in error.recorded.items()}
        return self._record(
            call, action, outcome, error.reason.name, tenant, shown(resource), detail, ""
        )

    def _record(
        self,
        call: Call,
        action: AuditAction,
        outcome: Outcome,
        reason: str,
        tenant: str,
        resource: str,
        detail: Mapping[str, str],
        fingerprint: str,
    ) -> AuditRecord:
        if call.trace_id:
            detail = {**detail, "trace_id": call.trace_id}
        return AuditRecord(
            record_id=self._entropy.uuid7(),
            tenant=tenant,
            action=action,
            outcome=outcome,
            reason=reason,
            caller=call.caller.spiffe_id,
            certificate_serial=call.caller.certificate_serial,
            source=call.source,
            rpc=call.rpc,
            request_id=call.request_id,
            resource=resource,
            deployment=self._deployment,
            instance=self._instance,
            token_fingerprint=fingerprint,
            detail=detail,
        )
