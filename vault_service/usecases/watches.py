"""The streams of one process: how many there are, and their end when the process stops."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from vault_service.domain import limits
from vault_service.domain.access import Caller
from vault_service.domain.errors import Reason, VaultError
from vault_service.ports import EventBell


def stream_ended(why: str) -> VaultError:
    """STREAM_ENDED: nothing is wrong, and the last cursor goes on where this stopped."""
    return VaultError(
        Reason.STREAM_ENDED,
        f"{why}; open the stream again with the last cursor",
        retry_after_s=limits.WATCH_RESUME_S,
    )


class Watches:
    """At most ``limits.WATCHES_MAX`` streams, ``limits.WATCHES_PER_CALLER_MAX`` of one caller."""

    def __init__(self, bell: EventBell) -> None:
        self._bell = bell
        self._open: Counter[str] = Counter()
        self._closing = False

    def __len__(self) -> int:
        return self._open.total()

    @contextlib.contextmanager
    def entered(self, caller: Caller) -> Iterator[None]:
        """One stream more until the block ends. OVERLOADED, CALLER_RATE_LIMITED, STREAM_ENDED."""
        self.require_open()
        if len(self) >= limits.WATCHES_MAX:
            raise VaultError(
                Reason.OVERLOADED,
                "too many streams are open in this process; try again",
                retry_after_s=limits.EVENT_POLL_S,
            )
        if self._open[caller.spiffe_id] >= limits.WATCHES_PER_CALLER_MAX:
            raise VaultError(
                Reason.CALLER_RATE_LIMITED,
                f"this caller has {limits.WATCHES_PER_CALLER_MAX} streams open here; close some, "
                "or watch more in one",
                retry_after_s=limits.EVENT_POLL_S,
            )
        self._open[caller.spiffe_id] += 1
        try:
            yield
        finally:
            self._open[caller.spiffe_id] -= 1
            self._open += Counter()  # drops what is 0

    def require_open(self) -> None:
        """STREAM_ENDED once the process stops."""
        if self._closing:
            raise stream_ended("this process is stopping")

    def close(self) -> None:
        """All streams end now, and none is opened any more."""
        self._closing = True
        self._bell.ring_all()
