"""GetAccessToken: a token with enough life left, on record before it leaves."""

from __future__ import annotations

import contextlib
from datetime import datetime

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain import limits
from vault_service.domain.access import Call, Decision, Permission
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import (
    NEVER,
    AccessToken,
    Grant,
    GrantState,
    ReauthorizationCause,
    Served,
    effective_min_ttl_s,
    is_due,
    is_rejected,
    min_ttl_reachable,
    needs_refresh,
)
from vault_service.domain.names import GrantAliasName, GrantTarget, OAuthClientName
from vault_service.ports import AuditLog
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.gate import Gate
from vault_service.usecases.known_grants import KnownGrants
from vault_service.usecases.newer_tokens import NewerTokens
from vault_service.usecases.outages import Outages
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.refresh_grant import RefreshGrant
from vault_service.usecases.used_grants import UsedGrants

_OF_THE_ROW = frozenset(
    {
        Reason.GRANT_NOT_FOUND,
        Reason.GRANT_REVOKED,
        Reason.REAUTHORIZATION_REQUIRED,
        Reason.MIN_TTL_OUT_OF_RANGE,
        Reason.ENVELOPE_CORRUPT,
    }
)
"""What a row read anew may answer differently than a remembered one."""

_OF_A_WAIT = frozenset(
    {
        Reason.REFRESH_IN_DOUBT,
        Reason.REFRESH_IN_PROGRESS,
        Reason.PROVIDER_UNAVAILABLE,
        Reason.PROVIDER_RATE_LIMITED,
    }
)
"""Why a refresh may come to nothing while the grant is revoked, deleted or refreshed elsewhere."""


class GetAccessToken:
    """The fresh way never touches the refresh token; the stale way re-enters the fresh one."""

    def __init__(
        self,
        *,
        gate: Gate,
        known: KnownGrants,
        envelopes: Envelopes,
        audit: AuditLog,
        recorder: Recorder,
        refresh: RefreshGrant,
        credentials: Credentials,
        outages: Outages,
        used: UsedGrants,
    ) -> None:
        self._gate = gate
        self._known = known
        self._envelopes = envelopes
        self._audit = audit
        self._recorder = recorder
        self._refresh = refresh
        self._credentials = credentials
        self._outages = outages
        self._newer = NewerTokens(credentials)
        self._used = used

    async def __call__(
        self, call: Call, target: GrantTarget, min_ttl_s: float | None, scopes: frozenset[str]
    ) -> AccessToken:
        """An access token with at least ``min_ttl_s`` of life; raises the reasons of the proto."""
        await self._gate.enter(call, target.tenant)
        remembered = await self._from_memory(call, target, min_ttl_s, scopes)
        if remembered is not None:
            return remembered
        refreshed_from: int | None = None
        for _ in range(limits.DISCLOSURE_ATTEMPTS):
            grant, decision = self._gate.require_on_grant(
                call, Permission.GET_ACCESS_TOKEN, target, await self._known.read(target)
            )
            wanted_s = effective_min_ttl_s(min_ttl_s, grant.access_life_s)
            _require_usable(grant, wanted_s, scopes)
            too_old = needs_refresh(grant.access_expire_time, grant.read_time, wanted_s)
            if too_old:
                too_old = await self._newer.wanted(grant, min_ttl_s)
            if too_old or (is_rejected(grant) and refreshed_from is None):
                if refreshed_from is not None and grant.generation > refreshed_from:
                    raise _went_by(grant)
                await self._refresh_or_keep(call, target, grant, too_old)
                refreshed_from = grant.generation
                continue
            served = self._served(grant, grant.read_time, refreshed_from)
            token = await self._disclose(call, target, grant, decision, served)
            if token is not None:
                return token
            # Asked only now: the disclosure has judged it already, in the same statement.
            client = OAuthClientName(grant.tenant, grant.oauth_client)
            await self._credentials.require_in_service(client)
        raise VaultError(
            Reason.REFRESH_IN_PROGRESS, "the grant keeps changing; try again", retry_after_s=0.2
        )

    async def _refresh_or_keep(
        self, call: Call, target: GrantTarget, grant: Grant, too_old: bool
    ) -> None:
        """A token that an API refused, and that no other can be had for now, is still the best
        there is: while it lives, its caller gets it rather than nothing."""
        try:
            await self._refresh(call, grant)
        except VaultError as error:
            ours = error.reason is Reason.CLIENT_MISCONFIGURED  # and so not for ever
            if not (error.retryable or ours):
                raise
            if too_old and not await self._moved(error, target, grant):
                raise

    async def _moved(self, error: VaultError, target: GrantTarget, grant: Grant) -> bool:
        """Whether the row says something else by now than that its refresh came to nothing: it has
        newer tokens, or is no longer ACTIVE, which is the truer answer."""
        if error.reason not in _OF_A_WAIT:
            return False
        with contextlib.suppress(VaultError):
            current = await self._known.read(target)
            here = current is not None and current.grant_id == grant.grant_id
            if current is None or not here:
                return True
            return (current.generation, current.state) != (grant.generation, grant.state)
        return False

    def _served(self, grant: Grant, now: datetime, refreshed_from: int | None) -> Served:
        """``refreshed_from``: the generation that a refresh was tried at for this call."""
        tried = refreshed_from is not None
        if tried and grant.generation != refreshed_from:
            return Served.REFRESHED
        if is_due(grant, now) and (tried or self._outages.is_down(grant)):
            return Served.STALE_PROVIDER_DOWN
        return Served.FRESH

    async def _from_memory(
        self, call: Call, target: GrantTarget, min_ttl_s: float | None, scopes: frozenset[str]
    ) -> AccessToken | None:
        """The token of the remembered row, if all is well with it. Refusals and refreshes are for
        a row read anew: what was remembered may be what made them."""
        recalled = self._known.recall(target)
        if recalled is None:
            return None
        known, now = recalled
        wanted_s = effective_min_ttl_s(min_ttl_s, known.access_life_s)
        if needs_refresh(known.access_expire_time, now, wanted_s) or is_rejected(known):
            return None
        try:
            _require_usable(known, wanted_s, scopes)
            grant, decision = self._gate.require_on_grant(
                call, Permission.GET_ACCESS_TOKEN, target, known
            )
            served = self._served(known, now, None)
            return await self._disclose(call, target, grant, decision, served)
        except VaultError as error:
            if error.reason not in _OF_THE_ROW:
                raise
            return None

    async def _disclose(
        self, call: Call, target: GrantTarget, grant: Grant, decision: Decision, served: Served
    ) -> AccessToken | None:
        """The token once its record is durable; None when the grant changed meanwhile, its token
        ended, or its OAuthClient is suspended."""
        if grant.access_envelope is None or grant.access_expire_time is None:
            raise VaultError(Reason.ENVELOPE_CORRUPT, "the grant's row has no access token")
        value = await self._envelopes.open(grant.access_binding(), grant.access_envelope)
        fingerprint = await self._envelopes.fingerprint(grant.tenant, value)
        record = self._recorder.done(
            call,
            AuditAction.ACCESS_TOKEN_DISCLOSED,
            grant.tenant,
            str(grant.name),
            decision=decision,
            detail={
                "generation": str(grant.generation),
                "expire_time": _told(grant.access_expire_time),
                "served": served.name,
            },
            token_fingerprint=fingerprint,
        )
        alias = target if isinstance(target, GrantAliasName) else None
        if not await self._audit.disclose(record, grant, alias):
            return None
        if self._known.has_ended(target, grant):
            # The database stood still: the record says more than was given.
            return None
        self._used.note(grant)
        return AccessToken(
            grant=grant.name,
            value=value,
            token_type=grant.token_type,
            expire_time=grant.access_expire_time,
            scopes=grant.scopes,
            fingerprint=fingerprint,
            served=served,
            grant_state=grant.state,
        )


def _told(expire_time: datetime) -> str:
    return "none" if expire_time == NEVER else expire_time.isoformat()


def require_active(grant: Grant) -> None:
    """GRANT_REVOKED, REAUTHORIZATION_REQUIRED."""
    if grant.state is GrantState.REVOKED:
        raise VaultError(
            Reason.GRANT_REVOKED, "the grant was revoked; a new consent makes a new grant"
        )
    if grant.state is GrantState.REAUTHORIZATION_REQUIRED:
        raise _reauthorization(grant.cause)


def _require_usable(grant: Grant, wanted_s: float, scopes: frozenset[str]) -> None:
    """Raises what no refresh could mend."""
    require_active(grant)
    if not min_ttl_reachable(wanted_s, grant.access_life_s):
        raise _too_short(grant)
    if not scopes <= set(grant.scopes):
        raise _reauthorization(ReauthorizationCause.SCOPES_MISSING)


def _went_by(grant: Grant) -> VaultError:
    """A token that just came has less life left than was asked for: another look would cost another
    request. Where it lived when it was issued, whoever is slow now may be quicker later."""
    if grant.access_life_s == 0:
        return _too_short(grant)
    return VaultError(
        Reason.OVERLOADED,
        f"a new token came, and too much of its {grant.access_life_s} s went by before it could be "
        "handed out; ask for less min_ttl, or try again",
        metadata={"access_life_s": str(grant.access_life_s)},
        retry_after_s=limits.RETRY_AFTER_S,
    )


def _too_short(grant: Grant) -> VaultError:
    """No refresh mends it."""
    return VaultError(
        Reason.MIN_TTL_OUT_OF_RANGE,
        f"the provider's tokens live {grant.access_life_s} s; ask for at most 90 % of that",
        metadata={"access_life_s": str(grant.access_life_s)},
    )


def _reauthorization(cause: ReauthorizationCause | None) -> VaultError:
    return VaultError(
        Reason.REAUTHORIZATION_REQUIRED,
        "consent is needed again; send the user through StartAuthorization",
        metadata={"cause": cause.name if cause else ""},
    )
