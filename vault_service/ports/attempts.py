"""Refresh attempts as operators see them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from vault_service.domain import limits
from vault_service.domain.attempt import UNRESOLVED, AttemptFilter, RefreshAttempt
from vault_service.ports.pages import Page

_WAIT = timedelta(seconds=limits.WAIT_UNTIL_TOLD_S)


@dataclass(frozen=True, slots=True)
class ListedAttempt:
    """An attempt with what only people need."""

    attempt: RefreshAttempt
    provider: str
    reason: str
    update_time: datetime

    @property
    def is_tried_again(self) -> bool:
        """Whether recovery looks at it again by itself, before the far end of a wait."""
        near = self.attempt.next_try_time - self.attempt.read_time < _WAIT / 2
        return self.attempt.state in UNRESOLVED and near

    @property
    def etag(self) -> str:
        """Changes with the attempt's state."""
        moved = int(self.update_time.timestamp() * 1_000_000)
        return f"{self.attempt.state.value}.{self.attempt.retries}.{moved}"


class AttemptRegister(Protocol):
    """STORE_UNREACHABLE."""

    async def list(
        self, tenant: str, which: AttemptFilter, provider: str, page_size: int, page_token: str
    ) -> Page[ListedAttempt]:
        """Oldest first; ``provider`` "" for all. FIELD_MALFORMED for a token that is not ours."""

    async def get(self, tenant: str, attempt_id: uuid.UUID) -> ListedAttempt | None:
        """One attempt."""
