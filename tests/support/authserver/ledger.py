"""One entry for every POST, from the moment it has arrived; entries are never removed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import IO

import msgspec

from tests.support.authserver.behaviour import RefreshClass


class Done(StrEnum):
    """What the server's state did with a POST."""

    PENDING = "pending"  # not decided yet
    ISSUED = "issued"
    REPEATED = "repeated"  # the same pair once more
    REFUSED = "refused"
    KILLED = "killed"  # refused, and the family was killed for it
    UNAUTHENTICATED = "unauthenticated"
    RATE_LIMITED = "rate_limited"
    SCRIPTED = "scripted"  # the test's answer, nothing committed
    CUT = "cut"  # the connection ended before the commit
    REVOKED = "revoked"
    INTROSPECTED = "introspected"


class Entry(msgspec.Struct, kw_only=True):
    """Times are CLOCK_MONOTONIC of the host in seconds, None: not (yet).

    ``presented``: generation of the refresh token that came, 0 where it is none of ours.
    ``at_generation``: the family's generation when the POST arrived. ``issued``: the generation
    that was given. ``delivered``: the whole answer was handed to the kernel on a connection that
    no fault had cut and no client had left. ``carried``: the answer held the tokens in a form that
    a strict client reads.
    """

    sequence: int
    connection: int
    path: str
    realm: str
    kind: str
    client_id: str
    fields: dict[str, str]
    authorization: str
    arrived_s: float
    family: str = ""
    refresh_class: RefreshClass | None = None
    presented: int = 0
    at_generation: int = 0
    fault: str = ""
    done: Done = Done.PENDING
    issued: int = 0
    error: str = ""
    committed_s: float | None = None
    status: int = 0
    retry_after: str = ""
    sent_bytes: int = 0
    carried: bool = False
    delivered: bool = False
    ended_s: float | None = None

    @property
    def gave_tokens(self) -> bool:
        """The tokens that were issued left this host in a readable answer."""
        return self.delivered and self.carried

    @property
    def in_doubt(self) -> bool:
        """Its client cannot know whether it counted: no answer, or a 5xx of which a retry is not
        invited, or unreadable tokens."""
        if not self.delivered:
            return True
        if self.done in (Done.ISSUED, Done.REPEATED):
            return not self.carried
        return self.status >= 500 and not (self.status == 503 and self.retry_after)


class Ledger:
    """In memory, and as JSON lines in a file where one is given: a line for each change of an
    entry, the last of a sequence number is the entry."""

    def __init__(self, file: Path | None = None) -> None:
        self.entries: list[Entry] = []
        self._by_family: dict[str, list[Entry]] = {}
        self._file: IO[bytes] | None = file.open("ab") if file else None
        self._encode = msgspec.json.Encoder().encode

    def append(self, entry: Entry) -> None:
        """A POST has arrived."""
        self.entries.append(entry)
        self.place(entry)
        self.note(entry)

    def place(self, entry: Entry) -> None:
        """Its family is known now, if it has one: campaigns ask for few families of many."""
        if entry.family:
            self._by_family.setdefault(entry.family, []).append(entry)

    def note(self, entry: Entry) -> None:
        """An entry of this ledger has changed."""
        if self._file is not None:
            self._file.write(self._encode(entry) + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def select(
        self,
        *,
        kind: str = "",
        families: Iterable[str] | None = None,
        since: int = 0,
    ) -> list[Entry]:
        """Entries after sequence number ``since``, oldest first."""
        if families is None:
            chosen = self.entries[since:]
        else:
            found = itertools.chain(*(self.of_family(family) for family in set(families)))
            chosen = sorted(found, key=lambda entry: entry.sequence)
        return [entry for entry in chosen if entry.sequence > since and kind in ("", entry.kind)]

    def of_family(self, family: str) -> list[Entry]:
        """The POSTs of one family, oldest first; a code's family is known from its commit on."""
        return self._by_family.get(family, [])


def read_ledger(file: Path) -> list[Entry]:
    """The entries of a ledger's file, oldest first; a last line that was cut off is left out."""
    decode = msgspec.json.Decoder(Entry).decode
    whole = file.read_bytes().rpartition(b"\n")[0]
    latest = {entry.sequence: entry for entry in map(decode, filter(None, whole.split(b"\n")))}
    return [latest[sequence] for sequence in sorted(latest)]
