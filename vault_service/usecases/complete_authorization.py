"""CompleteAuthorization: the callback's code becomes a grant (RFC 6749 §4.1.3).

A state is bound to caller, tenant, owner and redirect URI. A code is presented once: the row is
claimed before the POST, and retries of the same caller join or get the same answer for ten minutes,
be it the grant or the refusal that ended the authorization. Only where the code surely was not
looked at is the claim given back.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from vault_service.domain import limits
from vault_service.domain.access import Call, Decision, Permission
from vault_service.domain.consent import NO_CODE_HASH, Ending, ends_the_state
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantAliasName, GrantName, OAuthClientName
from vault_service.domain.oauth import Authorization
from vault_service.domain.provider import Provider
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import AuthorizationStore, Clock, GrantStore
from vault_service.usecases.credentials import Credentials, require_in_service
from vault_service.usecases.exchange_code import ExchangeCode
from vault_service.usecases.flights import Flights
from vault_service.usecases.gate import Gate
from vault_service.usecases.recorder import Recorder, shown
from vault_service.usecases.settle_consent import SettleConsent, ended_record
from vault_service.usecases.start_authorization import authorization_resource

# How long a claim without an outcome may still get one: a POST and the storing after it.
_CLAIM: Final = timedelta(seconds=limits.POST_LIMIT_S + limits.LEASE_MARGIN_S)
_WAY_ON: Final = {
    True: "where the user agrees, start a new authorization",
    False: "it may pass: the user may go back to the provider, or start a new authorization",
}
_REPLAY: Final = timedelta(seconds=limits.COMPLETION_REPLAY_S)


@dataclass(frozen=True, slots=True)
class Callback:
    """What the browser brought back, and what the caller's session knows."""

    tenant: str
    state: str
    code: Sensitive
    iss: str
    owner: str
    redirect_uri: str  # "" where the caller does not say
    error: str


@dataclass(frozen=True, slots=True)
class Completed:
    """The grant and the alias that points at it."""

    grant: Grant
    alias: GrantAliasName


class CompleteAuthorization:
    """Has the code exchanged once, and tells every completion what came of it."""

    def __init__(
        self,
        *,
        gate: Gate,
        authorizations: AuthorizationStore,
        grants: GrantStore,
        credentials: Credentials,
        exchange: ExchangeCode,
        settle: SettleConsent,
        recorder: Recorder,
        clock: Clock,
        flights: Flights,
    ) -> None:
        self._gate = gate
        self._authorizations = authorizations
        self._grants = grants
        self._credentials = credentials
        self._exchange = exchange
        self._settle = settle
        self._recorder = recorder
        self._clock = clock
        self._flights = flights

    async def __call__(self, call: Call, callback: Callback) -> Completed:
        """Raises the reasons of the proto; what it refuses before the exchange uses up nothing."""
        await self._gate.enter(call, callback.tenant)
        state_hash = hashlib.sha256(callback.state.encode()).digest()
        code_hash = hashlib.sha256(callback.code.reveal()).digest()
        authorization = await self._find(call, callback, state_hash)
        name = OAuthClientName(callback.tenant, authorization.oauth_client)
        client, provider = await self._credentials.find(name)
        resource = authorization_resource(
            name, client.provider, callback.owner, authorization.label, authorization.scopes
        )
        decision = self._gate.require(call, Permission.COMPLETE_AUTHORIZATION, resource)
        _require_bound(authorization, callback, provider)
        if callback.error:
            raise await self._denied(call, authorization, callback.error)
        require_in_service(client)
        until = call.answer_by
        if authorization.code_hash is None:
            ended = await self._flights.join(
                ("complete", callback.tenant, state_hash),
                lambda: self._exchange(call, decision, authorization, callback.code, code_hash),
                until,
            )
            if not ended:
                raise _under_way()
        grant_id = await self._outcome(call, decision, authorization, code_hash, until)
        grant = await self._grants.get(grant_id)
        if grant is None:
            raise _used()
        alias = GrantAliasName(callback.tenant, authorization.owner, authorization.label)
        return Completed(grant, alias)

    async def _find(self, call: Call, callback: Callback, state_hash: bytes) -> Authorization:
        found = await self._authorizations.find(callback.tenant, state_hash)
        if found is None or found.caller != call.caller.spiffe_id or found.owner != callback.owner:
            # One answer for all three: a state is worth nothing to whom it was not given.
            why = "no such state" if found is None else "state of another caller or owner"
            raise VaultError(
                Reason.STATE_UNKNOWN,
                "this caller started no authorization with this state for this owner; complete "
                "with the state, caller and owner that began it, or start a new authorization",
                recorded={"why": why},
            )
        return found

    async def _denied(self, call: Call, authorization: Authorization, error: str) -> VaultError:
        """An error of the callback ends the authorization, where it is final (RFC 6749 §4.1.2.1):
        a code that comes with this state afterwards is not the user's."""
        final = ends_the_state(error)
        denied = VaultError(
            Reason.AUTHORIZATION_DENIED,
            "the provider answered the authorization with an error, see metadata; "
            f"{_WAY_ON[final]}",
            metadata={"error": shown(error)},
        )
        if authorization.ending is not None and authorization.code_hash == NO_CODE_HASH:
            return authorization.ending.error()
        if authorization.code_hash is not None:
            return _used()
        if final:
            record = ended_record(
                self._recorder, call, authorization, denied, {"error": shown(error)}
            )
            if not await self._authorizations.deny(authorization, Ending.of(denied), record):
                return await self._overtaken(authorization)
        return denied

    async def _overtaken(self, authorization: Authorization) -> VaultError:
        """Another callback of this state was faster: with an error too, or with a code."""
        found = await self._authorizations.find(authorization.tenant, authorization.state_hash)
        denied = found is not None and found.code_hash == NO_CODE_HASH
        return found.ending.error() if found and denied and found.ending else _used()

    async def _outcome(
        self,
        call: Call,
        decision: Decision,
        authorization: Authorization,
        code_hash: bytes,
        until: float,
    ) -> GrantName:
        """The grant of a claimed authorization, waiting for one that is under way elsewhere."""
        tenant, state_hash = authorization.tenant, authorization.state_hash
        reread = False
        while True:
            found = await self._authorizations.find(tenant, state_hash)
            if found is None or found.code_hash is None or found.claim_time is None:
                # Given back after a failure in another process: nothing is used up.
                raise _under_way()
            if found.ending is not None and found.code_hash == NO_CODE_HASH:
                raise found.ending.error()
            if not hmac.compare_digest(found.code_hash, code_hash):
                raise _used()
            age = found.read_time - found.claim_time
            if found.grant_id is not None:
                if age > _REPLAY:
                    raise _used()
                return GrantName(tenant, found.grant_id)
            if found.ending is not None:
                if found.answer_envelope is None or age > _REPLAY or reread:
                    raise found.ending.error()
                reread = await self._read_again(call, decision, found, found.answer_envelope, until)
                continue
            if age > _CLAIM:
                raise _lost()
            if self._clock.monotonic() > until:
                raise _under_way()
            await asyncio.sleep(limits.LEASE_POLL_S)

    async def _read_again(
        self,
        call: Call,
        decision: Decision,
        found: Authorization,
        envelope: bytes,
        until: float,
    ) -> bool:
        """The kept answer, with the profile as it is now: an operator may have mended it."""

        async def read() -> None:
            ended = await self._settle.reread(call, decision, found, envelope)
            if ended is not None:
                raise ended

        key = ("complete", found.tenant, found.state_hash)
        if not await self._flights.join(key, read, until):
            raise _under_way()
        return True


def _require_bound(authorization: Authorization, callback: Callback, provider: Provider) -> None:
    """Raises STATE_EXPIRED, REDIRECT_URI_MISMATCH, ISSUER_MISMATCH."""
    unused = authorization.code_hash is None
    if unused and authorization.expire_time <= authorization.read_time:
        raise VaultError(
            Reason.STATE_EXPIRED, "started more than ten minutes ago; start a new authorization"
        )
    if callback.redirect_uri and callback.redirect_uri != authorization.redirect_uri:
        raise VaultError(
            Reason.REDIRECT_URI_MISMATCH,
            "the callback arrived elsewhere than where this authorization was started to return; "
            "complete with the redirect URI of its start, or start a new authorization",
        )
    profile = provider.profile
    if (callback.iss or profile.requires_iss) and callback.iss != profile.issuer:
        raise VaultError(
            Reason.ISSUER_MISMATCH,
            "iss of the callback is not this provider's issuer (RFC 9207): do not use the code; "
            "the platform team compares the profile's issuer, then start a new authorization",
            recorded={"iss": shown(callback.iss)},
        )


def _used() -> VaultError:
    return VaultError(
        Reason.AUTHORIZATION_CODE_USED,
        "a code was presented for this state before, and a state takes one; start a new "
        "authorization and ask for consent again",
    )


def _lost() -> VaultError:
    return VaultError(
        Reason.AUTHORIZATION_CODE_USED,
        "the exchange of this code was begun and its outcome is not known here; a code is "
        "presented once, so start a new authorization and ask for consent again",
        recorded={"why": "a claim without an outcome"},
    )


def _under_way() -> VaultError:
    return VaultError(
        Reason.PROVIDER_UNAVAILABLE,
        "the exchange is not finished; ask for the same completion again, which presents no code",
        retry_after_s=0.2,
    )
