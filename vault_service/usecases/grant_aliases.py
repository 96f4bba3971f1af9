"""LinkAlias and UnlinkAlias: callers' own names for grants."""

from __future__ import annotations

from vault_service.domain.access import Call, Decision, Permission
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantAliasName, GrantName
from vault_service.ports import GrantAliasStore, GrantStore
from vault_service.usecases.gate import Gate
from vault_service.usecases.recorder import Recorder


class GrantAliases:
    """An alias gives its owner the use of a grant: the policy is asked from both sides."""

    def __init__(
        self, *, gate: Gate, grants: GrantStore, aliases: GrantAliasStore, recorder: Recorder
    ) -> None:
        self._gate = gate
        self._grants = grants
        self._aliases = aliases
        self._recorder = recorder

    async def link(self, call: Call, alias: GrantAliasName, name: GrantName) -> Grant:
        """The grant that the alias points at. GRANT_NOT_FOUND, GRANT_REVOKED, ALIAS_EXISTS."""
        await self._gate.enter(call, alias.tenant)
        if alias.tenant != name.tenant:
            raise VaultError(
                Reason.FIELD_MALFORMED,
                "grant belongs to the same tenant",
                metadata={"field": "grant"},
            )
        found, link = await self._grants.get(name), Permission.LINK_ALIAS
        grant, _ = self._gate.require_on_grant(call, link, name, found)
        _, decision = self._gate.require_on_grant(call, link, alias, grant)
        record = self._record(call, AuditAction.GRANT_ALIAS_LINKED, alias, grant, decision)
        there = await self._aliases.link(alias, grant, record)
        if there is None:
            raise VaultError(
                Reason.GRANT_REVOKED, "the grant was revoked; a new consent makes a new grant"
            )
        if there != grant.grant_id:
            raise VaultError(
                Reason.ALIAS_EXISTS,
                "the alias points at another grant; take another label, or unlink it first",
            )
        return grant

    async def unlink(self, call: Call, alias: GrantAliasName) -> None:
        """Take it away. GRANT_NOT_FOUND, ETAG_MISMATCH when it was moved at this moment."""
        await self._gate.enter(call, alias.tenant)
        grant, decision = self._gate.require_on_grant(
            call, Permission.UNLINK_ALIAS, alias, await self._grants.get(alias)
        )
        record = self._record(call, AuditAction.GRANT_ALIAS_UNLINKED, alias, grant, decision)
        if not await self._aliases.unlink(alias, grant, record):
            raise VaultError(
                Reason.ETAG_MISMATCH, "the alias was changed meanwhile; look at it and try again"
            )

    def _record(
        self,
        call: Call,
        action: AuditAction,
        alias: GrantAliasName,
        grant: Grant,
        decision: Decision,
    ) -> AuditRecord:
        return self._recorder.done(
            call,
            action,
            alias.tenant,
            str(alias),
            decision=decision,
            detail={"grant": str(grant.name)},
        )
