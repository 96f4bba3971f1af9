"""An HTTP answer as it came, for the rules that judge it, and its bytes for the spool."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vault_service.domain import limits
from vault_service.domain.sensitive import Sensitive

_FORMAT: Final = 2
_HEAD: Final = struct.Struct(">BHBdHHI")  # the whole head of format 1
_MORE: Final = struct.Struct(">HHI")  # what format 2 has beside it
_TEXT_MAX_BYTES: Final = limits.TEXT_MAX_CHARS * 3  # UTF-8, lone surrogates included
_ODDITIES_MAX_BYTES: Final = limits.ODDITIES_MAX_COUNT * (limits.ODDITY_MAX_CHARS + 1) - 1
_STATUS_MIN, _STATUS_MAX = 100, 999

# What ``to_bytes`` gives at most: the room that a spool keeps for one answer.
ANSWER_MAX_BYTES: Final = (
    _HEAD.size
    + _MORE.size
    + _TEXT_MAX_BYTES
    + limits.TEXT_MAX_CHARS
    + limits.CODING_MAX_CHARS
    + _ODDITIES_MAX_BYTES
    + limits.BODY_MAX_BYTES
)
assert ANSWER_MAX_BYTES <= limits.PAYLOAD_MAX_BYTES, "an answer fits into one envelope"


class AnswerCorruptError(ValueError):
    """The bytes are not those of an answer. The message never quotes them."""


@dataclass(frozen=True, slots=True, repr=False)
class HttpAnswer:
    """One answer of any status, redirects included. Not printable: the body may hold tokens.

    ``refusal`` is "" or says why the answer is not whole. The body may be complete all the same,
    so a reader tries it; ``content_coding.contents`` undoes its coding.
    """

    status: int
    content_type: str  # as sent, cut at TEXT_MAX_CHARS; "" when absent
    body: Sensitive  # still coded, at most BODY_MAX_BYTES; after its framed part, what came beyond
    retry_after_s: float | None = None  # 0 to RETRY_AFTER_MAX_S
    refusal: str = ""  # in our own words, ASCII
    content_encoding: str = ""  # visible ASCII, cut at CODING_MAX_CHARS; "" when absent
    oddities: tuple[str, ...] = ()  # in our own words, at most ODDITIES_MAX_COUNT
    framed_bytes: int | None = None  # how much of the body its framing covers; None: all of it

    @property
    def noted(self) -> str:
        """What was odd about it, for a record; "" where nothing was."""
        return "; ".join(filter(None, (self.refusal, *self.oddities)))[: limits.TEXT_MAX_CHARS]

    def to_bytes(self) -> Sensitive:
        """Format 2, big-endian: u8 format, u16 status, u8 whether there is a delay, f64 delay in
        seconds (0 where there is none), u16 length of the content type, u16 length of the
        refusal, u32 length of the body, u16 length of the coding, u16 length of the oddities, u32
        length of the framed part of the body; then content type (UTF-8), refusal, coding, oddities
        with a line feed between two (ASCII), body. Format 1, of release 0.1, ends its head after
        the length of the body and has content type, refusal (both UTF-8) and body only.

        ValueError for what is outside the bounds above.
        """
        content_type = self.content_type.encode("utf-8", "surrogatepass")
        body = self.body.reveal()
        delay_s = self.retry_after_s
        framed = len(body) if self.framed_bytes is None else self.framed_bytes
        if not (
            _within_bounds(self.status, delay_s, content_type, body)
            and _ours(self.refusal, limits.TEXT_MAX_CHARS)
            and _ours(self.content_encoding, limits.CODING_MAX_CHARS)
            and _listed(self.oddities)
            and 0 <= framed <= len(body)
        ):
            raise ValueError("an answer outside its bounds")
        refusal, coding = self.refusal.encode(), self.content_encoding.encode()
        oddities = "\n".join(self.oddities).encode()
        head = _HEAD.pack(
            _FORMAT,
            self.status,
            delay_s is not None,
            abs(delay_s or 0.0),
            len(content_type),
            len(refusal),
            len(body),
        )
        more = _MORE.pack(len(coding), len(oddities), framed)
        return Sensitive(head + more + content_type + refusal + coding + oddities + body)

    @classmethod
    def from_bytes(cls, stored: Sensitive) -> HttpAnswer:
        """What ``to_bytes`` gave, in this release or the one before; each answer has one spelling
        in a format. Raises ``AnswerCorruptError``."""
        data = stored.reveal()
        version = data[0] if len(data) >= _HEAD.size else 0
        if version not in (1, _FORMAT) or (version == _FORMAT and len(data) < _BODY_AT):
            raise AnswerCorruptError("not an answer of format 1 or 2")
        _, status, delayed, delay_s, type_n, refusal_n, body_n = _HEAD.unpack_from(data)
        coding_n, oddities_n, framed = 0, 0, body_n
        start = _HEAD.size
        if version == _FORMAT:
            coding_n, oddities_n, framed = _MORE.unpack_from(data, start)
            start = _BODY_AT
        parts = _split(data, start, (type_n, refusal_n, coding_n, oddities_n, body_n))
        spelled = delayed in (0, 1) and math.copysign(1.0, delay_s) > 0 and (delayed or not delay_s)
        inside = _within_bounds(status, delay_s, parts[0], parts[4])
        if not (spelled and inside and refusal_n <= _TEXT_MAX_BYTES and framed <= body_n):
            raise AnswerCorruptError("a value outside its bounds")
        try:
            content_type, refusal = (one.decode("utf-8", "surrogatepass") for one in parts[:2])
            coding, joined = (one.decode("ascii") for one in parts[2:4])
        except UnicodeDecodeError:
            raise AnswerCorruptError("a text that is not UTF-8") from None
        oddities = tuple(joined.split("\n")) if joined else ()
        if version == _FORMAT and not (
            _ours(refusal, limits.TEXT_MAX_CHARS)
            and _ours(coding, limits.CODING_MAX_CHARS)
            and _listed(oddities)
        ):
            raise AnswerCorruptError("a text outside its bounds")
        return cls(
            status,
            content_type,
            Sensitive(parts[4]),
            delay_s if delayed else None,
            refusal,
            coding,
            oddities,
            None if framed == body_n else framed,
        )


_BODY_AT: Final = _HEAD.size + _MORE.size


def _split(data: bytes, start: int, lengths: Sequence[int]) -> list[bytes]:
    parts = []
    for length in lengths:
        parts.append(data[start : start + length])
        start += length
    if len(data) != start:
        raise AnswerCorruptError("not as long as it says")
    return parts


def _within_bounds(status: int, delay_s: float | None, content_type: bytes, body: bytes) -> bool:
    # Written so that a delay that is no number fails.
    return (
        _STATUS_MIN <= status <= _STATUS_MAX
        and (delay_s is None or 0 <= delay_s <= limits.RETRY_AFTER_MAX_S)
        and len(content_type) <= _TEXT_MAX_BYTES
        and len(body) <= limits.BODY_MAX_BYTES
    )


def _ours(text: str, max_chars: int) -> bool:
    """Whether it is printable ASCII, as all texts of ours are."""
    return len(text) <= max_chars and text.isascii() and (text == "" or text.isprintable())


def _listed(oddities: Sequence[str]) -> bool:
    return len(oddities) <= limits.ODDITIES_MAX_COUNT and all(
        one and _ours(one, limits.ODDITY_MAX_CHARS) for one in oddities
    )
