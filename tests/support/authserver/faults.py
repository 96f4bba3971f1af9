"""What may go wrong with one request, and which requests it happens to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from random import Random
from typing import Any

import msgspec


class Cut(StrEnum):
    """Where the connection ends. "Commit" is the change of the server's state."""

    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"  # before the first byte of the answer
    AFTER_HEADERS = "after_headers"
    MID_BODY = "mid_body"


class Rewrite(StrEnum):
    """What becomes of the body that would have been sent, after the commit."""

    HTML = "html"
    EMPTY = "empty"
    OVERSIZED = "oversized"  # valid JSON of more than 64 KiB
    GZIP = "gzip"
    DUPLICATE_KEYS = "duplicate_keys"
    NAN = "nan"


class Ending(StrEnum):
    """An answer that is whole, in a form that no standard allows or nobody asked for."""

    GZIP = "gzip"  # unasked
    DEFLATE = "deflate"
    MISLABELLED = "mislabelled"  # Content-Encoding: utf-8
    NO_LAST_CHUNK = "no_last_chunk"
    LENGTH_TOO_LARGE = "length_too_large"
    NO_LENGTH = "no_length"  # it ends with the connection
    ODD_HEADERS = "odd_headers"
    BOM = "bom"
    LATIN_1 = "latin_1"
    FORM = "form"  # form-urlencoded, and labelled so
    WRAPPED = "wrapped"  # inside a member "data": a profile has to say so


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that the test wrote."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = {}

    @classmethod
    def json(cls, members: Mapping[str, Any], status: int = 200, **headers: str) -> Answer:
        """A JSON object; underscores in the headers' names are dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(body=json.dumps(members).encode(), status=status, headers=named)

    @classmethod
    def html(cls, status: int = 200) -> Answer:
        """What a gateway or a maintenance page says."""
        page = b"<!doctype html><title>Maintenance</title>"
        return cls(body=page, status=status, content_type="text/html")

    @classmethod
    def oversized(cls, size_bytes: int = 70_000) -> Answer:
        """A JSON object with an access token that fills more than 64 KiB."""
        return cls.json({"access_token": "a" * size_bytes})


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """In this order: gate, delay, BEFORE_COMMIT, commit, delay, AFTER_COMMIT, answer.

    ``answer`` replaces the server's own; then nothing is committed unless ``commits``.
    """

    gate: str = ""  # waits, before the commit, until the gate of this name is opened
    delay_before_s: float = 0
    delay_after_s: float = 0
    cut: Cut | None = None
    cut_by_close: bool = False  # an orderly end instead of a reset
    answer: Answer | None = None
    commits: bool = False
    rewrite: Rewrite | None = None
    ending: Ending | None = None
    headers: dict[str, str] = {}  # more of them, such as Retry-After
    drip_bytes: int = 0  # so many bytes of the answer at once, head included
    drip_s: float = 0.01  # and then so long nothing


class Rule(msgspec.Struct, kw_only=True):
    """A fault and whom it meets: the first rule that fits is taken. "" and None fit everything.

    ``kind``: "token" (both grant types), "refresh_token", "authorization_code", "revoke",
    "introspect" or "any".
    """

    fault: Fault
    times: int | None = 1  # None: until the rules are cleared
    skip: int = 0  # so many that fit go unharmed first
    kind: str = "token"
    realm: str | None = None
    family: str = ""
    generation: int | None = None  # of the presented refresh token
    chance: float = 1
    for_s: float | None = None  # from the moment it was added
    until_s: float | None = None  # set by the server
    label: str = ""  # to clear some and leave others

    def fits(self, kind: str, realm: str, family: str, generation: int | None) -> bool:
        """Whether such a request is meant."""
        return (
            (self.kind in ("any", kind) or (self.kind == "token" and kind in TOKEN_KINDS))
            and self.realm in (None, realm)
            and self.family in ("", family)
            and self.generation in (None, generation)
        )


TOKEN_KINDS = ("refresh_token", "authorization_code", "other")


class Rules:
    """The rules in force, oldest first. Chances are drawn from a seed."""

    def __init__(self, seed: int = 0) -> None:
        self._rules: list[Rule] = []
        self._random = Random(seed)

    def add(self, rule: Rule, now: float) -> None:
        """From now on."""
        if rule.for_s is not None:
            rule.until_s = now + rule.for_s
        self._rules.append(rule)

    def clear(self, label: str = "") -> None:
        """Take those of a label out of force, "": all."""
        self._rules = [rule for rule in self._rules if label and rule.label != label]

    def __len__(self) -> int:
        return len(self._rules)

    def take(
        self, kind: str, realm: str, family: str, generation: int | None, now: float
    ) -> Fault | None:
        """What happens to this request, None: nothing."""
        self._rules = [rule for rule in self._rules if rule.until_s is None or now < rule.until_s]
        for rule in self._rules:
            if not rule.fits(kind, realm, family, generation):
                continue
            if rule.skip > 0:
                rule.skip -= 1
                continue
            if rule.chance < 1 and self._random.random() >= rule.chance:
                continue
            if rule.times is not None:
                rule.times -= 1
                if rule.times <= 0:
                    self._rules.remove(rule)
            return rule.fault
        return None


class Bucket:
    """A token bucket: ``rate_per_s`` in the long run, ``burst`` at once."""

    def __init__(self, rate_per_s: float, burst: int, now: float) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._level = float(burst)
        self._at = now

    def wait_s(self, now: float) -> float:
        """0 and one is taken, or how long until there is one."""
        self._level = min(float(self.burst), self._level + (now - self._at) * self.rate_per_s)
        self._at = now
        if self._level >= 1:
            self._level -= 1
            return 0
        return (1 - self._level) / self.rate_per_s
