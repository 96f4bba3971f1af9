"""Decides for one family, exactly, whether its grant was lost: from the server's side alone."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from tests.support.authserver.behaviour import RefreshClass
from tests.support.authserver.ledger import Done, Entry
from tests.support.authserver.model import Killed, Standing

_GIVEN = (Done.ISSUED, Done.REPEATED)


class Verdict(StrEnum):
    """The worst that holds, in this order from the last to the first."""

    OK = "OK"
    DOUBLE_POST = "DOUBLE_POST"  # a refresh token was presented once more than it may be
    LOST_IN_WINDOW = "LOST_IN_WINDOW"  # the successor never became durable, and nothing else works
    LOST = "LOST"
    KILLED_FAMILY = "KILLED_FAMILY"  # the vault presented a dead refresh token


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What the vault has of a family once it has recovered, and what the campaign knows of it."""

    family: str
    refresh_token: str = ""  # "": it keeps none, or it cannot be read
    gave_up: bool = False  # state REAUTHORIZATION_REQUIRED
    cause: str = ""  # of that state
    generation: int | None = None  # the vault's own count, which starts at 1 as ours does
    declared_retries: int = 0  # recovery retries that the vault has on record
    killed_before_durable: bool = False  # it died holding the newest answer, before K7 was over
    grace_missed: bool = False  # class G: nobody could ask the provider before its grace was over


class FamilyState(msgspec.Struct, frozen=True, kw_only=True):
    """A family as the server has it. ``working``: generations of the refresh tokens that work."""

    name: str
    realm: str
    subject: str
    refresh_class: RefreshClass
    generation: int
    killed: Killed | None
    working: tuple[int, ...]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """``double_posts``: sequence numbers in the ledger, also when the verdict is a worse one."""

    family: str
    verdict: Verdict
    why: str
    double_posts: tuple[int, ...] = ()


def judge(held: Held, state: FamilyState, entries: Sequence[Entry], standing: Standing) -> Finding:
    """``entries``: the family's, of all kinds, oldest first. ``standing``: of the held token."""
    refreshes = [entry for entry in entries if entry.kind == "refresh_token"]
    doubles = double_posts(refreshes, held, state)
    verdict, why = _verdict(held, state, refreshes, standing)
    if verdict is Verdict.OK and doubles:
        verdict, why = Verdict.DOUBLE_POST, f"beside that: {why}"
    return Finding(family=held.family, verdict=verdict, why=why, double_posts=doubles)


def double_posts(refreshes: Sequence[Entry], held: Held, state: FamilyState) -> tuple[int, ...]:
    """POSTs beyond the first of a generation and beyond the declared retries.

    After a clear answer that gave nothing (400, 429, 503 with Retry-After) another POST is none.
    It is one while the earlier is under way, after one whose outcome is in doubt, whatever else
    came between, and after one that gave a successor. Class N has no successor: there the vault's
    own count tells.
    """
    offenders: list[int] = []
    before: dict[int, list[Entry]] = {}
    keeps = state.refresh_class is RefreshClass.N
    for entry in refreshes:
        earlier = before.setdefault(entry.presented, [])
        if any(_forbids(each, entry, keeps) for each in earlier):
            offenders.append(entry.sequence)
        if keeps and entry.gave_tokens:
            earlier.clear()  # its doubts are over
        earlier.append(entry)
    surplus = 0
    if keeps and held.generation is not None:
        surplus = state.generation - held.generation - held.declared_retries
    issued = [entry.sequence for entry in refreshes if entry.done in _GIVEN]
    unstored = issued[-surplus:] if surplus > 0 else []
    return tuple(sorted({*offenders[held.declared_retries :], *unstored}))


def _forbids(earlier: Entry, later: Entry, keeps: bool) -> bool:
    under_way = earlier.ended_s is None or later.arrived_s < earlier.ended_s
    gave = earlier.done in _GIVEN and not keeps
    return under_way or earlier.in_doubt or gave


def _verdict(
    held: Held, state: FamilyState, refreshes: Sequence[Entry], standing: Standing
) -> tuple[Verdict, str]:
    if state.killed in (Killed.OWNER, Killed.CLIENT):
        return Verdict.OK, f"ended by the {state.killed}"
    unavoidable = _window(held, state, refreshes)
    if state.killed is Killed.REUSE:
        if unavoidable and held.declared_retries:
            return Verdict.LOST_IN_WINDOW, f"{unavoidable}; the declared retry killed the family"
        return Verdict.KILLED_FAMILY, "a dead refresh token was presented"
    if not held.gave_up and standing.works:
        return Verdict.OK, f"the held refresh token is {standing}"
    if held.gave_up:
        usable = _usable(held, state, refreshes)
        if standing.works or usable:
            return Verdict.LOST, f"given up ({held.cause}) although generation {usable} works"
    if unavoidable:
        return Verdict.LOST_IN_WINDOW, unavoidable
    return Verdict.LOST, f"the held refresh token is {standing}, and its successor was delivered"


def _window(held: Held, state: FamilyState, refreshes: Sequence[Entry]) -> str:
    """Why the newest generation could not be had, "" where it could or was not needed."""
    newest = [entry for entry in refreshes if entry.issued == state.generation]
    strict = state.refresh_class is RefreshClass.S or held.grace_missed
    if not strict or not newest:
        return ""
    if not any(entry.gave_tokens for entry in newest):
        return f"generation {state.generation} was committed and never delivered"
    if held.killed_before_durable:
        return f"the vault died with generation {state.generation} before it was durable"
    return ""


def _usable(held: Held, state: FamilyState, refreshes: Sequence[Entry]) -> int:
    """The newest generation whose refresh token reached the vault and works, 0: none."""
    reached = {1} | {entry.issued for entry in refreshes if entry.gave_tokens}
    if held.killed_before_durable:
        reached.discard(state.generation)
    return max(reached.intersection(state.working), default=0)
