"""Answers that were kept: read once more, and what follows where they still cannot be read.

A 2xx is a sign that the refresh token is used up. So where a used one is dead (classes S and G)
nobody presents it while such an answer is kept: the attempt waits for a profile, a release or an
operator that can read it, for as long as it takes.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain.access import Call
from vault_service.domain.answers import Counted, TokenEndpointError
from vault_service.domain.attempt import AttemptState, SpoolEntry, WaitsFor, answer_binding
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.http_answer import AnswerCorruptError, HttpAnswer
from vault_service.domain.token_answer import read_refresh
from vault_service.ports import AttemptStore
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.refresh_outcomes import Attempted
from vault_service.usecases.store_successor import StoreSuccessor, sealed_successor


class Kept(Enum):
    """What is kept of an attempt, read with the profile as it stands."""

    NOTHING = 1
    STORED = 2  # it held the tokens, and the grant has them
    UNREADABLE = 3  # a success that another profile or release may read
    CORRUPT = 4  # not what was sealed: only an operator ends the wait


WAITS_FOR: Final = {Kept.UNREADABLE: WaitsFor.PROFILE, Kept.CORRUPT: WaitsFor.OPERATOR}


class KeptAnswers:
    """Reads what a spool or the attempt itself has."""

    def __init__(
        self,
        *,
        attempts: AttemptStore,
        envelopes: Envelopes,
        store: StoreSuccessor,
        recorder: Recorder,
    ) -> None:
        self._attempts = attempts
        self._envelopes = envelopes
        self._store = store
        self._recorder = recorder

    async def read(
        self, call: Call, tried: Attempted, entry: SpoolEntry | None, again: bool = False
    ) -> Kept:
        """Once for each profile and reader, or ``again``. What only the spool has and cannot be
        read comes into the attempt, so that any replica may read it later.

        Raises KEK_UNREACHABLE: what cannot be opened now may be later.
        """
        fresh = None if entry is None else entry.envelope
        kept = Kept.NOTHING
        if fresh is not None:
            kept = await self._read(call, tried, fresh)
        orphan = tried.attempt.orphan_envelope
        if kept is not Kept.STORED and orphan not in (None, fresh):
            older = await self._orphan(call, tried, orphan, again)
            kept = older if older is Kept.STORED or kept is Kept.NOTHING else kept
        if kept in WAITS_FOR and fresh not in (None, orphan):
            assert fresh is not None
            record = self._record(call, AuditAction.REFRESH_ORPHAN_KEPT, tried)
            await self._attempts.keep_orphan(tried.attempt, fresh, record, tried.revision)
        return kept

    async def opened(self, grant: Grant, base_generation: int, envelope: bytes) -> HttpAnswer:
        """The answer, in memory only. ENVELOPE_CORRUPT, KEK_UNREACHABLE; AnswerCorruptError."""
        binding = answer_binding(grant, base_generation)
        return HttpAnswer.from_bytes(await self._envelopes.open(binding, envelope))

    async def _orphan(
        self, call: Call, tried: Attempted, envelope: bytes | None, again: bool
    ) -> Kept:
        assert envelope is not None
        if not (again or tried.attempt.due_anew):
            return Kept.UNREADABLE
        kept = await self._read(call, tried, envelope)
        if kept is Kept.NOTHING:
            record = self._record(
                call, AuditAction.REFRESH_RESULT_DISCARDED, tried, "the provider turned it away"
            )
            await self._attempts.forget_answer(tried.lease, tried.attempt, record)
        return kept

    async def _read(self, call: Call, tried: Attempted, envelope: bytes) -> Kept:
        try:
            raw = await self.opened(tried.grant, tried.attempt.base_generation, envelope)
            answer = read_refresh(raw, tried.profile, None)
        except VaultError as error:
            if error.reason is not Reason.ENVELOPE_CORRUPT:
                raise
            return Kept.CORRUPT
        except AnswerCorruptError:
            return Kept.UNREADABLE  # perhaps of a format that a newer release writes
        except TokenEndpointError as error:
            unread = error.judgement.counted is Counted.MAYBE
            return Kept.UNREADABLE if unread else Kept.NOTHING
        sealer = await self._envelopes.sealer(tried.grant.dek_owner)
        # The life of its token began when it was asked for, or later.
        tokens = sealed_successor(tried, answer, sealer, tried.attempt.create_time)
        facts = {"how": "its answer was kept"}
        state = AttemptState.RESOLVED_REFRESHED
        await self._store(call, tried, tokens, state, envelope, facts)
        return Kept.STORED

    def _record(
        self, call: Call, action: AuditAction, tried: Attempted, how: str = ""
    ) -> AuditRecord:
        facts = {"attempt": str(tried.attempt.attempt_id)}
        return self._recorder.done(
            call,
            action,
            tried.attempt.tenant,
            str(tried.attempt.grant),
            detail=facts | ({"how": how} if how else {}),
        )
