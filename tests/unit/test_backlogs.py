"""What waits in the database, as metrics show it."""

from __future__ import annotations

import pytest

from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.schedule import Backlog
from vault_service.worker.backlogs import Backlogs


async def test_backlogs_are_those_of_the_last_look() -> None:
    """Before the first look there are zeros; a look that fails keeps what was seen before."""
    seen = [(3, 41.5)]
    due = [Backlog(7, 2.5)]

    async def attempts() -> tuple[int, float]:
        if not seen:
            raise VaultError(Reason.STORE_UNREACHABLE, "the database is away")
        return seen.pop()

    async def schedule() -> Backlog:
        return due[0]

    backlogs = Backlogs(attempts, schedule)
    assert (backlogs.unresolved, backlogs.oldest_s, backlogs.due) == (0, 0.0, Backlog(0, 0.0))
    await backlogs.step()
    with pytest.raises(VaultError):
        await backlogs.step()
    assert (backlogs.unresolved, backlogs.oldest_s, backlogs.due) == (3, 41.5, Backlog(7, 2.5))
