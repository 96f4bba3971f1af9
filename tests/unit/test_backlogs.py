"""What waits in the database, as metrics show it."""

from __future__ import annotations

import pytest

from vault_service.domain.attempt_backlog import AttemptBacklog, DoubtCause
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.schedule import Backlog
from vault_service.worker.backlogs import Backlogs


async def test_backlogs_are_those_of_the_last_look() -> None:
    """Before the first look there are zeros; a look that fails keeps what was seen before."""
    counted = AttemptBacklog(3, 41.5, {DoubtCause.PROFILE: 2})
    seen = [counted]
    due = [Backlog(7, 2.5)]

    async def attempts() -> AttemptBacklog:
        if not seen:
            raise VaultError(Reason.STORE_UNREACHABLE, "the database is away")
        return seen.pop()

    async def schedule() -> Backlog:
        return due[0]

    backlogs = Backlogs(attempts, schedule)
    assert (backlogs.attempts, backlogs.due) == (AttemptBacklog(), Backlog(0, 0.0))
    await backlogs.step()
    with pytest.raises(VaultError):
        await backlogs.step()
    assert (backlogs.attempts, backlogs.due) == (counted, Backlog(7, 2.5))
