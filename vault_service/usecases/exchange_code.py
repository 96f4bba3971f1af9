"""One exchange of a code: claimed in the database, marked in the spool, presented once.

Like a refresh (``refresh_grant``, ``present_refresh_token``): all that can fail comes before the
POST, and what came back is on disk before it is read.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

from vault_service.crypto.envelopes import Envelopes, Sealer
from vault_service.domain import limits
from vault_service.domain.access import Call, Decision
from vault_service.domain.answer_rules import is_success
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.attempt import SpoolEntry, SpoolKind
from vault_service.domain.audit import AuditAction
from vault_service.domain.consent import leaves_the_code
from vault_service.domain.errors import VaultError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import Authorization, ClientCredential, TokenAnswer
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import read_tokens
from vault_service.ports import AuthorizationStore, Clock, Entropy, Spool, TokenEndpoint
from vault_service.usecases.credentials import Credentials, Registration
from vault_service.usecases.outages import Outages, Permit
from vault_service.usecases.provider_faults import refusal
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.settle_consent import Exchanged, SettleConsent, exchange_facts


@dataclass(slots=True)
class _Exchange:
    """One exchange under way."""

    authorization: Authorization  # with the id of this claim
    registration: Registration
    verifier: Sensitive
    sealer: Sealer
    entry: SpoolEntry
    decision: Decision
    envelope: bytes | None = None  # the sealed raw answer
    raw: HttpAnswer | None = None
    is_settled: bool = True  # whether the database knows all that the spool could say


class ExchangeCode:
    """Returns when a grant has the tokens, or another process has the claim."""

    def __init__(
        self,
        *,
        authorizations: AuthorizationStore,
        credentials: Credentials,
        endpoint: TokenEndpoint,
        envelopes: Envelopes,
        spool: Spool,
        settle: SettleConsent,
        recorder: Recorder,
        clock: Clock,
        entropy: Entropy,
        outages: Outages,
    ) -> None:
        self._authorizations = authorizations
        self._credentials = credentials
        self._endpoint = endpoint
        self._envelopes = envelopes
        self._spool = spool
        self._settle = settle
        self._recorder = recorder
        self._clock = clock
        self._entropy = entropy
        self._outages = outages

    async def __call__(
        self,
        call: Call,
        decision: Decision,
        authorization: Authorization,
        code: Sensitive,
        code_hash: bytes,
    ) -> None:
        """Raises why the code was not presented, or how the authorization ended."""
        registration = await self._credentials.open(
            OAuthClientName(authorization.tenant, authorization.oauth_client)
        )
        binding = authorization.verifier_binding
        verifier = await self._envelopes.open(binding, authorization.verifier_envelope)
        sealer = await self._envelopes.sealer(binding.dek_owner)
        # Before the claim: a caller that finds no place has used up nothing. Before the slot: those
        # who wait for a place take none from refreshes.
        with await self._outages.consent(
            registration.client, registration.provider, code_hash
        ) as permit:
            claim_id = self._entropy.uuid7()
            claimed = replace(authorization, claim_id=claim_id)
            entry = await self._spool.reserve(
                claim_id, authorization.tenant, authorization.authorization_id, SpoolKind.CONSENT
            )
            exchange = _Exchange(claimed, registration, verifier, sealer, entry, decision)
            try:
                if await self._claim(call, exchange, code_hash):
                    await self._present(call, exchange, code, permit)
            finally:
                if exchange.is_settled:
                    await self._spool.free(exchange.entry)
                else:
                    # Recovery goes on from what the entry says.
                    self._spool.leave(exchange.entry)

    async def _claim(self, call: Call, exchange: _Exchange, code_hash: bytes) -> bool:
        authorization = exchange.authorization
        assert authorization.claim_id is not None, "it was made with one"
        record = self._recorder.done(
            call,
            AuditAction.CODE_EXCHANGE_STARTED,
            authorization.tenant,
            _resource(authorization),
            decision=exchange.decision,
            detail=exchange_facts(authorization),
        )
        exchange.is_settled = False
        claimed = await self._authorizations.claim(
            authorization, code_hash, authorization.claim_id, record
        )
        exchange.is_settled = not claimed
        return claimed

    async def _present(
        self, call: Call, exchange: _Exchange, code: Sensitive, permit: Permit
    ) -> None:
        start_by = self._clock.monotonic() + limits.LEASE_MARGIN_S
        try:
            exchange.entry = await self._spool.mark_sent(exchange.entry)
        except VaultError as fault:
            await self._give_back(call, exchange, {"reason": fault.reason.name})
            raise
        try:
            presented = await self._credentials.present(
                exchange.registration,
                lambda credential: self._request(exchange, credential, code),
                lambda: self._clock.monotonic() <= start_by and permit.again(),
            )
        except TokenEndpointError as error:
            await permit.report(error, leave=False)  # the slot is held until the end
            raise await self._refused(call, exchange, error) from error
        await permit.report(None, leave=False)
        assert exchange.raw is not None, "the tokens are of an answer"
        exchanged = Exchanged(
            authorization=exchange.authorization,
            profile=exchange.registration.provider.profile,
            client_id=exchange.registration.client.client_id,
            sealer=exchange.sealer,
            decision=exchange.decision,
            receive_time=self._clock.now(),
        )
        ended = await self._settle.accept(call, exchanged, presented.answer, exchange.raw)
        exchange.is_settled = True
        if ended is not None:
            raise ended

    async def _request(
        self, exchange: _Exchange, credential: ClientCredential, code: Sensitive
    ) -> TokenAnswer:
        profile = exchange.registration.provider.profile
        raw = await self._endpoint.exchange_code(
            profile,
            credential,
            code=code,
            redirect_uri=exchange.authorization.redirect_uri,
            verifier=exchange.verifier,
        )
        if is_success(raw) and not _may_be_asked_again(raw, profile):
            await self._keep(exchange, raw)
        return read_tokens(raw, profile, (credential.client_secret, code, exchange.verifier))

    async def _keep(self, exchange: _Exchange, raw: HttpAnswer) -> None:
        """On disk before it is read. Where the disk takes nothing the database has to."""
        binding = exchange.authorization.answer_binding
        exchange.raw, exchange.envelope = raw, exchange.sealer.seal(binding, raw.to_bytes())
        with contextlib.suppress(VaultError):
            exchange.entry = await self._spool.store(exchange.entry, exchange.envelope)

    async def _refused(
        self, call: Call, exchange: _Exchange, error: TokenEndpointError
    ) -> VaultError:
        if leaves_the_code(error):
            await self._give_back(call, exchange, error.recorded())
            return refusal(error)
        ended = await self._settle.refuse(call, exchange.authorization, error, exchange.envelope)
        exchange.is_settled = True
        return ended

    async def _give_back(self, call: Call, exchange: _Exchange, why: dict[str, str]) -> None:
        await self._settle.give_back(call, exchange.authorization, why)
        exchange.is_settled = True


def _may_be_asked_again(raw: HttpAnswer, profile: ProviderProfile) -> bool:
    """A 2xx that refuses our credential: another may follow, and the one slot is for its answer.
    A reader that fails says no, so that it loses no answer."""
    with contextlib.suppress(Exception):
        try:
            read_tokens(raw, profile, None)
        except TokenEndpointError as error:
            return error.answer_class is AnswerClass.CLIENT_REFUSED and leaves_the_code(error)
    return False


def _resource(authorization: Authorization) -> str:
    return str(OAuthClientName(authorization.tenant, authorization.oauth_client))
