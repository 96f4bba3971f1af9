"""ReportRejectedToken: an API answered 401, so the next call gets another token."""

from __future__ import annotations

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain import limits
from vault_service.domain.access import Call, Permission
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, Rejection, RejectionKind
from vault_service.domain.names import GrantTarget
from vault_service.ports import GrantStore
from vault_service.usecases.gate import Gate
from vault_service.usecases.get_access_token import require_active
from vault_service.usecases.recorder import Recorder


class ReportRejectedToken:
    """Marks a generation once. A report that is not of the newest token changes nothing: the caller
    gets a newer one anyway."""

    def __init__(
        self, *, gate: Gate, grants: GrantStore, envelopes: Envelopes, recorder: Recorder
    ) -> None:
        self._gate = gate
        self._grants = grants
        self._envelopes = envelopes
        self._recorder = recorder

    async def __call__(
        self, call: Call, target: GrantTarget, fingerprint: str
    ) -> tuple[Grant, bool]:
        """The grant, and whether a newer token than the reported one is there already.

        CALLER_RATE_LIMITED when another generation of it was reported a moment ago.
        """
        await self._gate.enter(call, target.tenant)
        grant, decision = self._gate.require_on_grant(
            call, Permission.REPORT_REJECTED_TOKEN, target, await self._grants.get(target)
        )
        require_active(grant)
        if grant.access_envelope is None or not await self._is_newest(grant, fingerprint):
            return grant, True
        record = self._recorder.done(
            call,
            AuditAction.ACCESS_TOKEN_REJECTED,
            grant.tenant,
            str(grant.name),
            decision=decision,
            detail={"generation": str(grant.generation)},
            token_fingerprint=fingerprint,
        )
        rejection = await self._grants.reject(grant, limits.REJECTION_INTERVAL_S, record)
        if rejection.kind is RejectionKind.TOO_SOON:
            raise _too_soon(rejection)
        return grant, rejection.kind is RejectionKind.MOVED

    async def _is_newest(self, grant: Grant, fingerprint: str) -> bool:
        assert grant.access_envelope is not None, "asked before"
        value = await self._envelopes.open(grant.access_binding(), grant.access_envelope)
        return await self._envelopes.fingerprint(grant.tenant, value) == fingerprint


def _too_soon(rejection: Rejection) -> VaultError:
    return VaultError(
        Reason.CALLER_RATE_LIMITED,
        "a token of this grant was reported a moment ago, and its successor is refused too: look "
        "at scopes and audience, or come again later",
        retry_after_s=rejection.wait_s,
    )
