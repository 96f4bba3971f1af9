"""How long the parts of a refresh may take; one set for a process."""

from __future__ import annotations

from dataclasses import dataclass

from vault_service.domain import limits


@dataclass(frozen=True, slots=True)
class RefreshTimes:
    """All in seconds. ValueError where a POST could outlive its lease."""

    post_limit_s: float = limits.POST_LIMIT_S
    lease_margin_s: float = limits.LEASE_MARGIN_S
    commit_retry_s: float = limits.COMMIT_RETRY_S

    def __post_init__(self) -> None:
        if self.post_limit_s <= 0 or self.lease_margin_s <= 0:
            raise ValueError("a lease must outlive its request")

    @property
    def lease_s(self) -> float:
        """A lease outlives its POST by the margin."""
        return self.post_limit_s + self.lease_margin_s

    def post_fits(self, elapsed_s: float) -> bool:
        """Whether a POST that begins so long after its lease was asked for ends inside it."""
        return elapsed_s <= self.lease_margin_s
