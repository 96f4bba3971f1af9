"""Rows of grant_upkeep in memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tests.fakes.tables import FakeTables
from vault_service.domain.grant import Grant
from vault_service.domain.names import ProviderName
from vault_service.domain.schedule import first_look_time, keep_alive_time


@dataclass(slots=True)
class FakeUpkeep:
    """One of them."""

    failures: int = 0
    not_before: datetime | None = None
    reason: str = ""
    refused_generation: int | None = None
    refused_time: datetime | None = None
    refresh_time: datetime | None = None
    due_time: datetime | None = None
    planned: bool = False
    last_used_time: datetime | None = None
    warned_generation: int | None = None


def note_refreshed(tables: FakeTables, grant: Grant) -> None:
    """New tokens are in this row."""
    now = tables.clock.now()
    renewable = grant.refresh_envelope is not None
    moments = [
        first_look_time(
            grant.access_expire_time,
            grant.access_life_s,
            renewable,
            grant.grant_id,
            grant.generation,
        )
    ]
    provider = tables.providers[ProviderName(grant.tenant, grant.provider)]
    if renewable and provider.profile.max_idle_s:
        idle_s = provider.profile.max_idle_s
        moments.append(keep_alive_time(now, idle_s, grant.grant_id, grant.generation))
    known = tables.upkeep.get(grant.grant_id, FakeUpkeep())
    tables.upkeep[grant.grant_id] = FakeUpkeep(
        refresh_time=now,
        due_time=min((moment for moment in moments if moment), default=None),
        last_used_time=known.last_used_time,
        warned_generation=known.warned_generation,
    )
