"""Refusals that cost their caller nothing: beyond a few a second they are counted.

A record for each malformed or overloaded call would let one caller fill the disk with them. So the
first of a second have their own, with their request ids, and the others of that caller and second
share one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from vault_service.domain import limits
from vault_service.domain.access import Call, Caller
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import SYSTEM_TENANT
from vault_service.ports import AuditLog, Clock
from vault_service.usecases.recorder import Recorder

_COUNTED: Final = frozenset(
    {
        Reason.NAME_MALFORMED,
        Reason.FIELD_MALFORMED,
        Reason.PAYLOAD_TOO_LARGE,
        Reason.MIN_TTL_OUT_OF_RANGE,
        Reason.SCOPE_MALFORMED,
        Reason.OVERLOADED,
    }
)
_MANY: Final = ""  # the window that callers share beyond REFUSAL_CALLERS_MAX


@dataclass(slots=True)
class _Window:
    """One caller between two writes: a second, or as long as the store is away."""

    started: float
    own: int  # refusals with a record of their own
    counts: Counter[Reason] = field(default_factory=Counter)
    shown: _Shown | None = None


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the record says beside its counts; what was not the same in all is blank."""

    call: Call
    tenant: str
    asked: str

    def common(self, other: _Shown) -> _Shown:
        """What both say."""
        mine, its = self.call, other.call
        return _Shown(
            replace(
                mine,
                caller=Caller(
                    _same(mine.caller.spiffe_id, its.caller.spiffe_id),
                    _same(mine.caller.certificate_serial, its.caller.certificate_serial),
                ),
                rpc=_same(mine.rpc, its.rpc),
                source=_same(mine.source, its.source),
            ),
            self.tenant if self.tenant == other.tenant else SYSTEM_TENANT,
            _same(self.asked, other.asked),
        )


class CountedRefusals:
    """Counts in memory, at most REFUSAL_CALLERS_MAX callers apart; ``write`` makes it durable.

    A crash loses the counts of its last second, never the record of a denial or a disclosure.
    """

    def __init__(self, *, audit: AuditLog, recorder: Recorder, clock: Clock) -> None:
        self._audit = audit
        self._recorder = recorder
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    def count(self, call: Call, reason: Reason, tenant: str, asked: str) -> bool:
        """Whether this refusal is counted now; False: it needs a record of its own."""
        if reason not in _COUNTED:
            return False
        window = self._window(call.caller.spiffe_id)
        # Where too much waits for the record already, one more would wait with it.
        if reason is not Reason.OVERLOADED and window.own < limits.REFUSALS_OWN_RECORD_MAX:
            window.own += 1
            return False
        shown = _Shown(call, tenant, asked[: limits.URI_MAX_CHARS])
        window.counts[reason] += 1
        window.shown = shown if window.shown is None else window.shown.common(shown)
        return True

    async def write(self) -> None:
        """One record for each caller that has counts, and a new second for all.

        What cannot be written is kept and counted on; raises then what AuditLog.append does.
        """
        for batch in self._batches():
            written = await asyncio.gather(*map(self._written, batch), return_exceptions=True)
            for error in written:
                if error is not None:
                    raise error

    def _batches(self) -> list[list[str]]:
        callers, size = list(self._windows), limits.DISCLOSURE_BATCH_MAX
        return [callers[at : at + size] for at in range(0, len(callers), size)]

    async def _written(self, caller: str) -> None:
        window = self._windows.pop(caller)
        if window.shown is None:
            return
        try:
            await self._audit.append(self._record(window, window.shown))
        except BaseException:  # a cancellation too: the process writes once more as it stops
            self._put_back(caller, window)
            raise

    def _record(self, window: _Window, shown: _Shown) -> AuditRecord:
        counts = {reason.name: str(count) for reason, count in window.counts.items()}
        (most, _), *_ = window.counts.most_common(1)
        facts = {
            "count": str(window.counts.total()),
            "seconds": f"{self._clock.monotonic() - window.started:.1f}",
        }
        error = VaultError(most, "", recorded=facts | counts)
        return self._recorder.failed(
            shown.call, AuditAction.CALL_REFUSED, error, shown.tenant, shown.asked
        )

    def _put_back(self, caller: str, window: _Window) -> None:
        newer = self._windows.get(caller)
        if newer is not None and newer.shown is not None:
            assert window.shown is not None
            window.counts += newer.counts
            window.shown = window.shown.common(newer.shown)
        self._windows[caller] = window

    def _window(self, caller: str) -> _Window:
        known = self._windows.get(caller)
        if known is not None:
            return known
        own = 0
        if len(self._windows) >= limits.REFUSAL_CALLERS_MAX:
            caller, own = _MANY, limits.REFUSALS_OWN_RECORD_MAX
        return self._windows.setdefault(caller, _Window(self._clock.monotonic(), own))


def _same(one: str, other: str) -> str:
    return one if one == other else ""
