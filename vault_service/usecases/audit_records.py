"""ListAuditRecords, and the record of every refusal."""

from __future__ import annotations

from vault_service.domain.access import Call, Permission
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import SYSTEM_TENANT, parse_tenant
from vault_service.ports import AuditLog, Page
from vault_service.usecases.counted_refusals import CountedRefusals
from vault_service.usecases.gate import Gate, tenant_resource
from vault_service.usecases.recorder import Recorder

# The record cannot be written while these last; the call is refused all the same.
_UNRECORDABLE = frozenset({Reason.STORE_UNREACHABLE, Reason.AUDIT_UNAVAILABLE})


class AuditRecords:
    """Reading the record is itself on record."""

    def __init__(self, *, gate: Gate, audit: AuditLog, recorder: Recorder) -> None:
        self._gate = gate
        self._audit = audit
        self._recorder = recorder

    async def list(
        self, call: Call, tenant: str, page_size: int, page_token: str
    ) -> Page[AuditRecord]:
        """One page, newest first; SYSTEM_TENANT holds calls that named no valid tenant.

        A tenant need not exist: refusals of calls that named it are on record all the same.
        """
        self._gate.require(call, Permission.USE_TENANT, tenant_resource(tenant))
        decision = self._gate.require(call, Permission.LIST_AUDIT_RECORDS, tenant_resource(tenant))
        page = await self._audit.list(tenant, page_size, page_token)
        action = AuditAction.AUDIT_RECORDS_LISTED
        record = self._recorder.done(
            call,
            action,
            tenant,
            f"tenants/{tenant}",
            decision=decision,
            detail={"count": str(len(page.items))},
        )
        await self._audit.append(record)
        return page


class RecordRefusal:
    """Puts a refused call on record before its answer leaves, or counts it (CountedRefusals)."""

    def __init__(self, *, audit: AuditLog, recorder: Recorder, counted: CountedRefusals) -> None:
        self._audit = audit
        self._recorder = recorder
        self._counted = counted

    async def __call__(self, call: Call, error: VaultError, asked: str) -> VaultError:
        """The refusal to answer with: the one given, or AUDIT_UNAVAILABLE.

        ``asked`` is the resource name as the request had it, valid or not.
        """
        tenant = _tenant_of(asked)
        if error.reason in _UNRECORDABLE or self._counted.count(call, error.reason, tenant, asked):
            return error
        record = self._recorder.failed(call, AuditAction.CALL_REFUSED, error, tenant, asked)
        try:
            await self._audit.append(record)
        except VaultError as unrecorded:
            return unrecorded
        return error


def _tenant_of(asked: str) -> str:
    """The tenant a name speaks of, SYSTEM_TENANT where it has no valid one."""
    try:
        return parse_tenant("/".join(asked.split("/", 2)[:2]))
    except VaultError:
        return SYSTEM_TENANT
