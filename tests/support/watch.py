"""Callers of many grants, and everything that they were told."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import tokenvault_client as sdk
from tests.support.authserver import Observation, Violation, check_history, token_parts

# No answer in time says nothing about the grant: the caller may ask again, as after the others.
_RETRYABLE = (sdk.TryLater, sdk.DeadlineExceeded, sdk.ConnectionLost)


@dataclass
class Watch:
    """Asks for tokens, and keeps what came by family. Its clock is CLOCK_MONOTONIC."""

    given: defaultdict[str, list[Observation]] = field(default_factory=lambda: defaultdict(list))
    retryable: Counter[str] = field(default_factory=Counter)
    final: list[str] = field(default_factory=list)
    durations_s: list[float] = field(default_factory=list)

    async def ask(
        self,
        client: sdk.TokenVaultClient,
        grant: str,
        caller: str,
        *,
        min_ttl_s: float | None = None,
        timeout_s: float | None = None,
    ) -> sdk.AccessToken | None:
        """One call; None where it was refused."""
        start_s = time.monotonic()
        try:
            token = await client.get_access_token(
                grant=grant, min_ttl_s=min_ttl_s, timeout_s=timeout_s
            )
        except sdk.TokenVaultError as error:
            if isinstance(error, _RETRYABLE):
                self.retryable[error.reason or type(error).__name__] += 1
            else:
                self.final.append(f"{caller}: {error}")
            return None
        end_s = time.monotonic()
        family, generation = token_parts(token.value)
        self.durations_s.append(end_s - start_s)
        self.given[family].append(
            Observation(
                caller=caller,
                start_s=start_s,
                end_s=end_s,
                generation=generation,
                expire_s=token.expire_time.timestamp() - time.time() + time.monotonic(),
                fingerprint=token.fingerprint,
                min_ttl_s=min_ttl_s or 0.0,
            )
        )
        return token

    @property
    def calls(self) -> int:
        """How many were made."""
        return self.answers + self.retryable.total() + len(self.final)

    @property
    def answers(self) -> int:
        """How many tokens were given."""
        return sum(map(len, self.given.values()))

    def violations(self, *, every_generation_seen: bool = True) -> dict[str, int]:
        """Of the history of any grant: rules, and how often each was broken."""
        found: list[Violation] = [
            violation
            for observations in self.given.values()
            for violation in check_history(
                observations, every_generation_seen=every_generation_seen
            )
        ]
        return dict(Counter(violation.rule for violation in found))
