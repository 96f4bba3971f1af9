"""The answer to a code becomes a grant, or ends the authorization.

The same whether the answer has just come, was found in a spool, or lies in the row because nobody
could read it: what is decided about it depends on the answer alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from vault_service.crypto.envelopes import Envelopes, Sealer
from vault_service.domain import limits
from vault_service.domain.access import Call, Decision
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.consent import (
    DiscardedToken,
    Ending,
    TokenKind,
    discarded_binding,
    ending_of,
    leaves_the_code,
)
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.http_answer import AnswerCorruptError, HttpAnswer
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import Authorization, TokenAnswer
from vault_service.domain.provider import Provider, ProviderProfile
from vault_service.domain.provider_subject import SubjectRefusal, SubjectRefusedError
from vault_service.domain.token_answer import Expected, read_subject_of, read_tokens
from vault_service.ports import AuthorizationStore, Clock, Entropy, KeptConsents
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.flights import Flights
from vault_service.usecases.provider_faults import refusal as refusal_of
from vault_service.usecases.recorder import Recorder, shown
from vault_service.usecases.revoke_at_provider import RevokeAtProvider
from vault_service.usecases.store_consent import OvertakenError, StoreConsent


@dataclass(frozen=True, slots=True)
class Exchanged:
    """An authorization as it was claimed, and what its answer is read with.

    ``authorization.read_time`` is when the exchange began, or earlier: token lives count from it.
    """

    authorization: Authorization
    profile: ProviderProfile
    client_id: str
    sealer: Sealer
    decision: Decision | None  # None: recovery goes on with what was allowed before
    receive_time: datetime  # an id_token must not have expired by then
    kept: bool = False  # the answer is from before: later consents may have come first


class SettleConsent:
    """A method returns None when a grant has the tokens, or the refusal that ended the
    authorization or gave its claim back, and raises what left it without an outcome."""

    def __init__(
        self,
        *,
        authorizations: AuthorizationStore,
        kept: KeptConsents,
        credentials: Credentials,
        envelopes: Envelopes,
        store_consent: StoreConsent,
        revoke_at_provider: RevokeAtProvider,
        recorder: Recorder,
        clock: Clock,
        entropy: Entropy,
        flights: Flights,
    ) -> None:
        self._authorizations = authorizations
        self._kept = kept
        self._credentials = credentials
        self._envelopes = envelopes
        self._store_consent = store_consent
        self._revoke_at_provider = revoke_at_provider
        self._recorder = recorder
        self._clock = clock
        self._entropy = entropy
        self._flights = flights

    async def accept(
        self, call: Call, exchanged: Exchanged, tokens: TokenAnswer, raw: HttpAnswer
    ) -> VaultError | None:
        """Tokens that could be read: stored, or revoked where the subject is not believed."""
        authorization, profile = exchanged.authorization, exchanged.profile
        try:
            subject = _subject(exchanged, raw)
        except SubjectRefusedError as refused:
            return await self._discard(call, exchanged, tokens, _subject_refusal(refused))
        answer = replace(tokens, subject=subject)
        try:
            await self._until_stored(
                lambda: self._store_consent(
                    call,
                    exchanged.decision,
                    authorization,
                    profile,
                    answer,
                    exchanged.sealer,
                    kept=exchanged.kept,
                )
            )
        except OvertakenError:
            return await self._superseded(call, authorization)
        return None

    async def refuse(
        self,
        call: Call,
        authorization: Authorization,
        error: TokenEndpointError,
        envelope: bytes | None,
    ) -> VaultError:
        """An answer without tokens that does not leave the code. One that may hold tokens which
        cannot be read is kept for CONSENT_ANSWER_KEEP_S."""
        refusal = ending_of(error)
        kept = envelope if _may_hold_tokens(error) else None
        await self._end(call, authorization, refusal, answer_envelope=kept)
        return refusal

    async def give_back(
        self, call: Call, authorization: Authorization, why: dict[str, str]
    ) -> None:
        """The code was surely not looked at: the same completion may present it."""
        assert authorization.claim_id is not None, "only a claim is given back"
        record = self._recorder.done(
            call,
            AuditAction.CODE_EXCHANGE_GIVEN_BACK,
            authorization.tenant,
            str(OAuthClientName(authorization.tenant, authorization.oauth_client)),
            detail={**exchange_facts(authorization), **why},
        )
        await self._authorizations.give_back(authorization, authorization.claim_id, record)

    async def end_unknown(self, call: Call, authorization: Authorization) -> VaultError:
        """The process that presented the code is gone, and no answer reached its disk."""
        refusal = VaultError(
            Reason.AUTHORIZATION_CODE_USED,
            "the code was presented and the answer was lost with the process that waited for it; a "
            "code is presented once, so start a new authorization",
            recorded={"why": "no answer was kept"},
        )
        await self._end(call, authorization, refusal)
        return refusal

    async def reread(
        self, call: Call, decision: Decision | None, authorization: Authorization, envelope: bytes
    ) -> VaultError | None:
        """An answer that was kept, with the profile as it is now. One that still cannot be read
        stays: it waits for another profile or release."""
        assert authorization.claim_time is not None, "an answer is to a claim"
        name = OAuthClientName(authorization.tenant, authorization.oauth_client)
        client, provider = await self._credentials.find(name)
        sealer = await self._envelopes.sealer(authorization.answer_binding.dek_owner)
        exchanged = Exchanged(
            authorization=replace(authorization, read_time=authorization.claim_time),
            profile=provider.profile,
            client_id=client.client_id,
            sealer=sealer,
            decision=decision,
            receive_time=authorization.claim_time,
            kept=True,
        )
        try:
            opened = await self._envelopes.open(authorization.answer_binding, envelope)
            raw = HttpAnswer.from_bytes(opened)
        except VaultError as error:
            if error.reason is not Reason.ENVELOPE_CORRUPT:
                raise
            why = "what was kept is not what was sealed"
            return await self._unread(call, authorization, provider, _closed(why), envelope)
        except AnswerCorruptError:
            why = "kept in a format that this release does not know"
            return await self._unread(call, authorization, provider, _closed(why), envelope)
        try:
            tokens = read_tokens(raw, provider.profile, None)
        except TokenEndpointError as error:
            if authorization.ending is None and leaves_the_code(error):
                await self.give_back(call, authorization, error.recorded())
                return refusal_of(error)
            kept = envelope if _may_hold_tokens(error) else None
            return await self._unread(call, authorization, provider, ending_of(error), kept)
        if await self._authorizations.is_superseded(authorization):
            return await self._superseded(call, authorization)
        if authorization.read_time - authorization.claim_time > _REPLAY:
            return await self._found_late(call, exchanged, tokens, raw)
        return await self.accept(call, exchanged, tokens, raw)

    async def _found_late(
        self, call: Call, exchanged: Exchanged, tokens: TokenAnswer, raw: HttpAnswer
    ) -> VaultError:
        """Revoked, unless the account has a grant: with that one's tokens they might end."""
        with contextlib.suppress(SubjectRefusedError):
            subject = _subject(exchanged, raw)
            if await self._store_consent.has_grant(exchanged.authorization, subject):
                why = "found after the time for replays, and the account has a grant"
                return await self._superseded(call, exchanged.authorization, why)
        return await self._discard(call, exchanged, tokens, _too_late())

    async def _superseded(
        self,
        call: Call,
        authorization: Authorization,
        why: str = "the owner or the account has consented again since",
    ) -> VaultError:
        """Not revoked: many providers end the newer consent's tokens with them."""
        superseded = _too_late({"why": why})
        await self._end(call, authorization, superseded)
        return superseded

    async def _unread(
        self,
        call: Call,
        authorization: Authorization,
        provider: Provider,
        refusal: VaultError,
        envelope: bytes | None,
    ) -> VaultError:
        """The first time it ends the authorization; later it is as unreadable as it was."""
        if authorization.ending is not None:
            await self._kept.read_in_vain(authorization, provider.revision)
            return authorization.ending.error()
        await self._end(call, authorization, refusal, answer_envelope=envelope)
        return refusal

    async def _discard(
        self, call: Call, exchanged: Exchanged, tokens: TokenAnswer, refusal: VaultError
    ) -> VaultError:
        """The tokens go to the provider's revocation endpoint: now, or as soon as it answers."""
        authorization = exchanged.authorization
        kind = TokenKind.ACCESS if tokens.refresh_token is None else TokenKind.REFRESH
        binding = discarded_binding(
            authorization.tenant,
            authorization.owner,
            authorization.authorization_id,
            authorization.provider,
            kind,
        )
        token = DiscardedToken(
            token_id=self._entropy.uuid7(),
            tenant=authorization.tenant,
            authorization_id=authorization.authorization_id,
            owner=authorization.owner,
            oauth_client=authorization.oauth_client,
            provider=authorization.provider,
            kind=kind,
            envelope=exchanged.sealer.seal(binding, tokens.refresh_token or tokens.access_token),
            attempts=0,
            expire_time=authorization.read_time,
            read_time=authorization.read_time,
        )
        await self._end(call, authorization, refusal, discarded=token)
        # In a flight of its own: a provider that hangs delays the refusal for a moment only.
        with contextlib.suppress(VaultError):
            await self._flights.join(
                ("discard", authorization.tenant, authorization.authorization_id),
                lambda: self._revoke_at_provider.for_consent(
                    call, authorization.tenant, authorization.authorization_id
                ),
                self._clock.monotonic() + limits.DISCARD_WAIT_S,
            )
        return refusal

    async def _end(
        self,
        call: Call,
        authorization: Authorization,
        refusal: VaultError,
        *,
        answer_envelope: bytes | None = None,
        discarded: DiscardedToken | None = None,
    ) -> None:
        claim_id = authorization.claim_id
        assert claim_id is not None, "only a claim ends so"
        kept = "answer" if answer_envelope else discarded.kind.value if discarded else "nothing"
        record = ended_record(self._recorder, call, authorization, refusal, {"kept": kept})
        await self._until_stored(
            lambda: self._authorizations.end(
                authorization,
                claim_id,
                Ending.of(refusal),
                record,
                answer_envelope=answer_envelope,
                discarded=discarded,
            )
        )

    async def _until_stored(self, write: Callable[[], Awaitable[object]]) -> None:
        """What came exists only here and in the spool until the database takes it."""
        give_up = self._clock.monotonic() + limits.COMMIT_RETRY_S
        while True:
            try:
                await write()
                return
            except VaultError as error:
                if not error.retryable or self._clock.monotonic() > give_up:
                    raise
            await asyncio.sleep(limits.LEASE_POLL_S)


def ended_record(
    recorder: Recorder,
    call: Call,
    authorization: Authorization,
    refusal: VaultError,
    facts: dict[str, str],
) -> AuditRecord:
    """The record of an authorization that makes no grant."""
    error = VaultError(
        refusal.reason,
        refusal.message,
        recorded={**refusal.recorded, **exchange_facts(authorization), **facts},
    )
    name = OAuthClientName(authorization.tenant, authorization.oauth_client)
    action = AuditAction.AUTHORIZATION_ENDED
    return recorder.failed(call, action, error, authorization.tenant, str(name))


def exchange_facts(authorization: Authorization) -> dict[str, str]:
    """Which authorization it is, for records."""
    return {
        "authorization": str(authorization.authorization_id),
        "owner": authorization.owner,
        "label": authorization.label,
    }


_REPLAY: Final = timedelta(seconds=limits.COMPLETION_REPLAY_S)
_WORDS: Final = {
    SubjectRefusal.ISSUER: "the id_token is of another issuer than the provider's profile says",
    SubjectRefusal.AUDIENCE: "the id_token is for another audience than this OAuthClient's id",
    SubjectRefusal.EXPIRED: "the id_token had expired when it came: compare the clocks",
    SubjectRefusal.NONCE: "the id_token has not the nonce of this authorization",
    SubjectRefusal.MISSING: "the answer names no subject where the profile's subject_from points",
    SubjectRefusal.MALFORMED: "the id_token or the subject is malformed",
}
assert _WORDS.keys() == set(SubjectRefusal), "each refusal has its own words"


def _subject_refusal(refused: SubjectRefusedError) -> VaultError:
    expected, came = shown(refused.expected), shown(refused.came)
    compared = f": expected {expected!r}, came {came!r}" if expected or came else ""
    metadata = {"what": refused.kind.value}
    if compared:
        metadata |= {"expected": expected, "came": came}
    return VaultError(
        Reason.ID_TOKEN_REFUSED,
        f"{_WORDS[refused.kind]}{compared}; its tokens are revoked. The platform team compares the "
        "provider's profile with what came, then start a new authorization",
        metadata=metadata,
        recorded={"why": str(refused), **metadata},
    )


def _subject(exchanged: Exchanged, raw: HttpAnswer) -> str | None:
    """SubjectRefusedError."""
    authorization = exchanged.authorization
    nonce = authorization.nonce if "openid" in authorization.scopes else ""
    expected = Expected(exchanged.client_id, nonce, exchanged.receive_time)
    return read_subject_of(raw, exchanged.profile, expected)


def _may_hold_tokens(error: TokenEndpointError) -> bool:
    return error.answer_class is AnswerClass.UNREADABLE_SUCCESS


def _closed(why: str) -> VaultError:
    return VaultError(
        Reason.AUTHORIZATION_CODE_USED,
        "the code was presented and what was kept of the answer cannot be opened; a code is "
        "presented once, so start a new authorization",
        recorded={"why": why},
    )


def _too_late(recorded: dict[str, str] | None = None) -> VaultError:
    return VaultError(
        Reason.AUTHORIZATION_CODE_USED,
        "the code was presented and its answer was found too late; start a new authorization",
        recorded=recorded or {"why": "found after the time for replays"},
    )
