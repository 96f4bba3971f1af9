"""CompleteAuthorization: the callback's code becomes a grant (RFC 6749 §4.1.3).

A state is bound to caller, tenant, owner and redirect URI. A code is exchanged once: the row is
claimed before the POST, retries of the same caller join or get the same answer for ten minutes,
and a crash between the exchange and its storing is AUTHORIZATION_CODE_USED.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta

from vault_service.crypto.envelopes import Envelopes, Sealer
from vault_service.domain import limits
from vault_service.domain.access import Call, Decision, Permission
from vault_service.domain.answers import AnswerClass, Counted, TokenEndpointError
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantAliasName, GrantName, OAuthClientName
from vault_service.domain.oauth import Authorization, TokenAnswer
from vault_service.domain.provider import Provider
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import AuthorizationStore, Clock, GrantStore, TokenEndpoint
from vault_service.usecases.credentials import Credentials, Registration, require_in_service
from vault_service.usecases.flights import Flights
from vault_service.usecases.gate import Gate
from vault_service.usecases.outages import Outages, Permit
from vault_service.usecases.provider_faults import refusal
from vault_service.usecases.recorder import shown
from vault_service.usecases.start_authorization import authorization_resource
from vault_service.usecases.store_consent import StoreConsent

# How long a claim without an outcome may still get one: a POST and the storing after it.
_CLAIM_S = limits.POST_LIMIT_S + limits.LEASE_MARGIN_S


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
    """Exchanges the code once and stores what comes."""

    def __init__(
        self,
        *,
        gate: Gate,
        authorizations: AuthorizationStore,
        grants: GrantStore,
        credentials: Credentials,
        endpoint: TokenEndpoint,
        envelopes: Envelopes,
        store_consent: StoreConsent,
        clock: Clock,
        flights: Flights,
        outages: Outages,
    ) -> None:
        self._gate = gate
        self._authorizations = authorizations
        self._grants = grants
        self._credentials = credentials
        self._endpoint = endpoint
        self._envelopes = envelopes
        self._store_consent = store_consent
        self._clock = clock
        self._flights = flights
        self._outages = outages

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
        require_in_service(client)
        _require_bound(authorization, callback, provider)
        until = call.deadline - limits.REPLY_RESERVE_S
        if authorization.code_hash is None:
            ended = await self._flights.join(
                ("complete", callback.tenant, state_hash),
                lambda: self._exchange(call, decision, authorization, callback.code, code_hash),
                until,
            )
            if not ended:
                raise _under_way()
        grant_id = await self._outcome(callback.tenant, state_hash, code_hash, until)
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
                "this caller started no authorization with this state for this owner",
                recorded={"why": why},
            )
        return found

    async def _exchange(
        self,
        call: Call,
        decision: Decision,
        authorization: Authorization,
        code: Sensitive,
        code_hash: bytes,
    ) -> None:
        tenant, state_hash = authorization.tenant, authorization.state_hash
        registration, verifier, sealer = await self._prepare(authorization)
        # Before the claim: who finds no place has used up nothing.
        with await self._outages.consent(
            registration.client, registration.provider, code_hash
        ) as permit:
            if not await self._authorizations.claim(tenant, state_hash, code_hash):
                return  # another process has it: the caller waits for its outcome
            answer = await self._present(authorization, registration, verifier, code, permit)
        await self._store(call, decision, authorization, registration, answer, sealer)

    async def _present(
        self,
        authorization: Authorization,
        registration: Registration,
        verifier: Sensitive,
        code: Sensitive,
        permit: Permit,
    ) -> TokenAnswer:
        tenant, state_hash = authorization.tenant, authorization.state_hash
        code_hash = hashlib.sha256(code.reveal()).digest()
        start_by = self._clock.monotonic() + limits.LEASE_MARGIN_S
        try:
            presented = await self._credentials.present(
                registration,
                lambda credential: self._endpoint.exchange_code(
                    registration.provider.profile,
                    credential,
                    code=code,
                    redirect_uri=authorization.redirect_uri,
                    verifier=verifier,
                    nonce=authorization.nonce if "openid" in authorization.scopes else "",
                ),
                lambda: self._clock.monotonic() <= start_by and permit.again(),
            )
        except TokenEndpointError as error:
            await permit.report(error)
            give_back = (
                self._authorizations.abandon
                if error.answer_class is AnswerClass.INVALID_GRANT
                else self._authorizations.unclaim
            )
            await give_back(tenant, state_hash, code_hash)
            raise _exchange_refusal(error) from error
        await permit.report(None)
        return presented.answer

    async def _prepare(
        self, authorization: Authorization
    ) -> tuple[Registration, Sensitive, Sealer]:
        name = OAuthClientName(authorization.tenant, authorization.oauth_client)
        registration = await self._credentials.open(name)
        binding = authorization.verifier_binding
        verifier = await self._envelopes.open(binding, authorization.verifier_envelope)
        return registration, verifier, await self._envelopes.sealer(binding.dek_owner)

    async def _store(
        self,
        call: Call,
        decision: Decision,
        authorization: Authorization,
        registration: Registration,
        answer: TokenAnswer,
        sealer: Sealer,
    ) -> None:
        give_up = self._clock.monotonic() + limits.COMMIT_RETRY_S
        while True:
            try:
                await self._store_consent(
                    call, decision, authorization, registration, answer, sealer
                )
                return
            except VaultError as error:
                # The code is spent: its tokens exist only here until the database takes them.
                if not error.retryable or self._clock.monotonic() > give_up:
                    raise
            await asyncio.sleep(limits.LEASE_POLL_S)

    async def _outcome(
        self, tenant: str, state_hash: bytes, code_hash: bytes, until: float
    ) -> GrantName:
        """The grant of a claimed authorization, waiting for one that is under way elsewhere."""
        while True:
            found = await self._authorizations.find(tenant, state_hash)
            if found is None or found.code_hash is None or found.claim_time is None:
                # Given back after a failure in another process: nothing is used up.
                raise _under_way()
            if not hmac.compare_digest(found.code_hash, code_hash):
                raise _used()
            age = found.read_time - found.claim_time
            if found.grant_id is not None:
                if age > timedelta(seconds=limits.COMPLETION_REPLAY_S):
                    raise _used()
                return GrantName(tenant, found.grant_id)
            if age > timedelta(seconds=_CLAIM_S):
                raise _used()
            if self._clock.monotonic() > until:
                raise _under_way()
            await asyncio.sleep(limits.LEASE_POLL_S)


def _require_bound(authorization: Authorization, callback: Callback, provider: Provider) -> None:
    """Raises STATE_EXPIRED, REDIRECT_URI_MISMATCH, ISSUER_MISMATCH, AUTHORIZATION_DENIED."""
    unused = authorization.code_hash is None
    if unused and authorization.expire_time <= authorization.read_time:
        raise VaultError(
            Reason.STATE_EXPIRED, "started more than ten minutes ago; begin a new authorization"
        )
    if callback.redirect_uri and callback.redirect_uri != authorization.redirect_uri:
        raise VaultError(
            Reason.REDIRECT_URI_MISMATCH,
            "the callback arrived elsewhere than where this authorization was started to return",
        )
    profile = provider.profile
    if (callback.iss or profile.requires_iss) and callback.iss != profile.issuer:
        raise VaultError(
            Reason.ISSUER_MISMATCH,
            "iss of the callback is not this provider's issuer (RFC 9207): do not use the code",
            recorded={"iss": shown(callback.iss)},
        )
    if callback.error:
        raise VaultError(
            Reason.AUTHORIZATION_DENIED,
            "the provider answered the authorization with an error; see metadata",
            metadata={"error": shown(callback.error)},
        )


def _exchange_refusal(error: TokenEndpointError) -> VaultError:
    if error.answer_class is AnswerClass.INVALID_GRANT:
        return VaultError(
            Reason.AUTHORIZATION_CODE_EXPIRED,
            "the provider refuses the code: expired, used or not for us; ask for consent again",
            recorded=error.recorded(),
        )
    if error.judgement.counted is Counted.MAYBE:
        return VaultError(
            Reason.PROVIDER_UNAVAILABLE,
            "the provider did not answer clearly; try the same completion again",
            recorded=error.recorded(),
            retry_after_s=limits.RETRY_AFTER_S,
        )
    return refusal(error)


def _used() -> VaultError:
    return VaultError(
        Reason.AUTHORIZATION_CODE_USED,
        "this authorization was completed before and cannot be again; ask for consent again",
    )


def _under_way() -> VaultError:
    return VaultError(
        Reason.PROVIDER_UNAVAILABLE,
        "the exchange is not finished; try the same completion again",
        retry_after_s=0.2,
    )
