"""What a check of a set-up found, and what to do about it. ``tokenvault doctor`` prints these."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Verdict(Enum):
    """How a check ended."""

    OK = "OK"
    WARNING = "WARNING"  # it works now
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"  # it depends on something that failed, or was not asked for


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. ``check`` is stable, for programs; no text holds a secret."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on a check warns or fails."""

    # Two weeks leave time for a person to renew a certificate that is renewed by hand.
    certificate_warn_s: float = 14 * 86_400
    # Agents renew at half or two thirds of a life: less than a third left means that they do not.
    certificate_warn_share: float = 1 / 3
    # Tokens are refused 60 s before their end, and Date headers are whole seconds.
    clock_warn_s: float = 2.0
    # Half of the margin that a token is refreshed ahead with.
    clock_fail_s: float = 30.0
    # A disclosure waits for one statement at least; 50 ms are another continent.
    round_trip_warn_s: float = 0.05
    # What logs and renewed files of some days need.
    disk_warn_bytes: int = 1024 * 1024 * 1024
    # Less, and a certificate that is renewed may be written in half.
    disk_fail_bytes: int = 64 * 1024 * 1024
    # 16 callers with their streams, the pools and what the libraries open, several times over.
    open_files_warn: int = 1_024


STANDARD: Final = Thresholds()


def ok(check: str, found: str) -> Finding:
    """As it should be."""
    return Finding(check, Verdict.OK, found)


def warning(check: str, found: str, advice: str) -> Finding:
    """It works, and somebody should look."""
    return Finding(check, Verdict.WARNING, found, advice)


def failed(check: str, found: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, Verdict.FAILED, found, advice)


def skipped(check: str, found: str) -> Finding:
    """Not looked at, and why."""
    return Finding(check, Verdict.SKIPPED, found)


def clock_finding(check: str, ahead_s: float, unsure_s: float, thresholds: Thresholds) -> Finding:
    """Whether two clocks agree. ``ahead_s``: how far the other one is ahead of ours, known to
    ``unsure_s``; only what is beyond that counts.
    """
    certain_s = max(0.0, abs(ahead_s) - unsure_s)
    shown = f"the clocks differ by {round(ahead_s, 1) + 0.0:+.1f} s (known to {unsure_s:.1f} s)"
    advice = "let NTP or chrony set the clock of this machine and of that one"
    if certain_s > thresholds.clock_fail_s:
        return failed(check, shown, advice)
    if certain_s > thresholds.clock_warn_s:
        return warning(check, shown, advice)
    return ok(check, shown)
