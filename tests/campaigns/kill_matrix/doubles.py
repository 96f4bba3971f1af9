"""Presentations that must not have been, beside those that the ledger's own judge knows.

A refresh token was presented once more although an earlier presentation was answered 2xx with bytes
that were kept, or while an earlier one was under way. Of what a dead process kept on its own disk
its siblings know nothing: where the old refresh token works on (N, M, and G inside its grace) they
may ask again, by design. Where it may be dead they may not, nor may the process that has that disk.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.campaigns.kill_matrix.successor import Before
from tests.support.authserver import Done, Entry

_GIVEN = (Done.ISSUED, Done.REPEATED)


def double_posts(entries: Sequence[Entry], before: Before) -> set[int]:
    """Sequence numbers in the ledger. ``entries``: the refreshes of the run's family, oldest first;
    the last use of it, after it was resolved, included."""
    case = before.case
    found: set[int] = set()
    for index, later in enumerate(entries):
        same = [one for one in entries[:index] if one.presented == later.presented]
        if any(one.ended_s is None or later.arrived_s < one.ended_s for one in same):
            found.add(later.sequence)
    if case.refresh_class in ("N", "M") or not before.kept:
        return found
    knows = case.refresh_class == "S" or case.replicas == 1
    first = _kept_by(entries, before)
    if first is None or not knows:
        return found
    after = (one for one in entries if one.sequence > first.sequence)
    return found | {one.sequence for one in after if one.presented == first.presented}


def _kept_by(entries: Sequence[Entry], before: Before) -> Entry | None:
    """The last request that a process which was killed then had an answer to, and kept it."""
    answered = [
        one
        for one in entries
        if one.done in _GIVEN and one.status < 300 and one.arrived_s < before.killed_s
    ]
    return answered[-1] if answered else None
