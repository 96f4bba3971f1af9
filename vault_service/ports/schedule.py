"""What the scheduler needs from outside, and how it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from vault_service.domain.audit import AuditRecord
from vault_service.domain.names import OAuthClientName
from vault_service.domain.pacing import Slots, Wanted
from vault_service.domain.schedule import Backlog, DueGrant, UsedGrant


@dataclass(frozen=True, slots=True)
class Ask:
    """Slots wanted for one OAuthClient (``domain.pacing.share_out``)."""

    wanted: Sequence[Wanted]
    gap: timedelta
    run_max: int


@dataclass(frozen=True, slots=True)
class Look:
    """When a row that was taken is due again, None: when something brings it back."""

    due: DueGrant
    at: datetime | None
    planned: bool = False


class RefreshSchedule(Protocol):
    """The due index over all tenants, for the worker. STORE_UNREACHABLE."""

    async def take(self, limit: int, lease_s: float) -> Sequence[DueGrant]:
        """Rows whose time has come, those that end soonest first, without those that another
        replica is taking; nobody else takes them for ``lease_s``."""

    async def plan(self, asked: Mapping[OAuthClientName, Ask]) -> Mapping[OAuthClientName, Slots]:
        """Give out slots of the OAuthClients' plans, on the database's clock."""

    async def put_off(self, looks: Sequence[Look]) -> None:
        """Write when they are due next. A row that moved since it was taken stays as it is."""

    async def note_used(self, used: Sequence[UsedGrant], in_use_s: float) -> int:
        """Remember when grants were used last, to a tenth of ``in_use_s``; returns how many rows
        were written. One that was not in use before is due now."""

    async def warn(self, due: DueGrant, record: AuditRecord) -> bool:
        """Put on record, once for a generation, that consent will be needed soon; False: it was,
        or the grant has moved. AUDIT_UNAVAILABLE."""

    async def backlog(self) -> Backlog:
        """What waits."""
