"""How long the parts of a refresh may take; one set for a process, and from it one for a grant."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vault_service.domain import limits
from vault_service.domain.attempt import RefreshAttempt
from vault_service.domain.provider import RefreshClass


@dataclass(frozen=True, slots=True)
class RefreshTimes:
    """All in seconds. ValueError where a POST could outlive its lease.

    ``answer_limit_s``: how long an answer is waited for past ``post_limit_s`` where it may be the
    only one. ``grace_lease_min_s``: class G whose grace allows no such lease is class S.
    """

    post_limit_s: float = limits.POST_LIMIT_S
    lease_margin_s: float = limits.LEASE_MARGIN_S
    commit_retry_s: float = limits.COMMIT_RETRY_S
    answer_limit_s: float = limits.ANSWER_LIMIT_S
    grace_lease_min_s: float = limits.GRACE_LEASE_MIN_S

    def __post_init__(self) -> None:
        if self.post_limit_s <= 0 or self.lease_margin_s <= 0:
            raise ValueError("a lease must outlive its request")

    @property
    def lease_s(self) -> float:
        """A lease outlives its POST by the margin."""
        return self.post_limit_s + self.lease_margin_s

    @property
    def renew_s(self) -> float:
        """Between two renewals of the lease of a request that is late."""
        return self.lease_s / limits.LEASE_RENEWALS

    def class_of(self, refresh_class: RefreshClass, grace_s: float) -> RefreshClass:
        """S for class G with a grace too short to find out in it what became of a refresh."""
        graceful = refresh_class is RefreshClass.G
        too_short = grace_s * limits.GRACE_LEASE_SHARE < self.grace_lease_min_s
        return RefreshClass.S if graceful and too_short else refresh_class

    def for_class(self, refresh_class: RefreshClass, grace_s: float) -> RefreshTimes:
        """The times of one grant. Class G: its lease is a part of its grace, its POST limit and
        margin in proportion, so that another process may present the predecessor in time. An answer
        past the POST limit is waited for where no other request may be sent, in class S."""
        actual = self.class_of(refresh_class, grace_s)
        if actual is RefreshClass.S:
            return self
        if actual is not RefreshClass.G:
            return replace(self, answer_limit_s=self.post_limit_s)
        share = min(1.0, grace_s * limits.GRACE_LEASE_SHARE / self.lease_s)
        return replace(
            self,
            post_limit_s=self.post_limit_s * share,
            lease_margin_s=self.lease_margin_s * share,
            answer_limit_s=self.post_limit_s * share,
        )

    def for_attempt(self, attempt: RefreshAttempt) -> RefreshTimes:
        """The times of a request for this attempt, as of when it was read."""
        return self.for_class(attempt.acting_class, attempt.grace_s)

    def post_fits(self, elapsed_s: float) -> bool:
        """Whether a POST that begins so long after its lease was asked for ends inside it."""
        return elapsed_s <= self.lease_margin_s


def grace_pace_s(grace_s: float) -> float:
    """Between two tries inside a grace: a dozen in a short one, never rarer than after any other
    doubt."""
    relaxed_s = min(max(limits.IN_DOUBT_RETRY_S, grace_s / 60), limits.IN_DOUBT_RETRY_MAX_S)
    return min(grace_s * limits.GRACE_RETRY_SHARE, relaxed_s)


def grace_room_s(grace_s: float) -> float:
    """How long before its end the last try is made: it has to arrive there."""
    return min(grace_s * limits.GRACE_ROOM_SHARE, limits.GRACE_ROOM_MAX_S)
