"""Steps with refresh attempts that several suites share."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from tests.support.samples import a_record, new_id
from vault_service.domain.attempt import Begun
from vault_service.domain.grant import Grant
from vault_service.domain.provider import RefreshClass
from vault_service.ports import AttemptStore, NewAttempt

SPOOL = uuid.UUID(int=7)


async def begin(
    attempts: AttemptStore,
    grant: Grant,
    lease_s: float = 25.0,
    refresh_class: RefreshClass = RefreshClass.S,
    spools: Sequence[uuid.UUID] = (SPOOL,),
) -> Begun:
    """An attempt that begins."""
    new = NewAttempt(new_id(), refresh_class, 30, spools[0])
    begun = await attempts.begin(grant, new, lease_s, spools, a_record(grant.tenant))
    assert isinstance(begun, Begun), begun
    return begun
