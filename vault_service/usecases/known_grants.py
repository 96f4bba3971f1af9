"""Sealed rows that were read a moment ago, so that a fresh token needs one statement, not two.

Memory can only say yes, and a yes is checked by the disclosure statement: it accepts a record only
where the grant still has the remembered revision and the alias still points at it. Everything else
(a refusal, a refresh) is decided on a row read for that call.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from vault_service.domain import limits
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantTarget
from vault_service.ports import Clock, GrantStore


@dataclass(frozen=True, slots=True)
class _Known:
    grant: Grant  # without its refresh token
    monotonic: float  # both clocks when it was read
    now: datetime


class KnownGrants:
    """Rows by the name they were asked by; at most ``limits.GRANT_CACHE_MAX``, each for
    ``limits.GRANT_CACHE_LIFE_S``. Sealed as in the database: nothing here opens without a DEK."""

    def __init__(self, grants: GrantStore, clock: Clock) -> None:
        self._grants = grants
        self._clock = clock
        self._known: OrderedDict[GrantTarget, _Known] = OrderedDict()
        self.hits = self.misses = self.evictions = 0

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, target: GrantTarget) -> tuple[Grant, datetime] | None:
        """The remembered row without its refresh token, and what the database's clock says by
        now (``read_time`` is of when it was read)."""
        known = self._known.get(target)
        if known is None:
            self.misses += 1
            return None
        age = self._age(known)
        if age > _LIFE:
            self.forget(target)
            self.misses += 1
            return None
        self.hits += 1
        self._known.move_to_end(target)
        return known.grant, known.grant.read_time + age

    def has_ended(self, target: GrantTarget, grant: Grant) -> bool:
        """Whether the grant's access token has ended by now on the database's clock; True where
        too little is remembered to tell."""
        known, expire_time = self._known.get(target), grant.access_expire_time
        if known is None or expire_time is None:
            return True
        return expire_time <= known.grant.read_time + self._age(known)

    async def read(self, target: GrantTarget) -> Grant | None:
        """The row as it stands in the database, which is remembered. Raises as GrantStore.get."""
        # The clocks are read before the row: its age is never taken for less than it is.
        monotonic, now = self._clock.monotonic(), self._clock.now()
        grant = await self._grants.get(target)
        if grant is None:
            self.forget(target)
            return None
        self._known[target] = _Known(replace(grant, refresh_envelope=None), monotonic, now)
        self._known.move_to_end(target)
        if len(self._known) > limits.GRANT_CACHE_MAX:
            self._known.popitem(last=False)
            self.evictions += 1
        return grant

    def _age(self, known: _Known) -> timedelta:
        # The monotonic clock stands still while a machine sleeps, the wall clock may be set back:
        # whichever went further is right about a token's age, or on the safe side of it.
        elapsed_s = self._clock.monotonic() - known.monotonic
        return max(timedelta(seconds=elapsed_s), self._clock.now() - known.now)

    def forget(self, target: GrantTarget) -> None:
        """It was not what the database has."""
        self._known.pop(target, None)


_LIFE = timedelta(seconds=limits.GRANT_CACHE_LIFE_S)
