"""An HTTP answer as it came, for the rules that judge it, and its bytes for the spool."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

from vault_service.domain import limits
from vault_service.domain.sensitive import Sensitive

_FORMAT: Final = 1
_HEAD: Final = struct.Struct(">BHBdHHI")
_TEXT_MAX_BYTES: Final = limits.TEXT_MAX_CHARS * 3  # UTF-8, lone surrogates included
_STATUS_MIN, _STATUS_MAX = 100, 999

# What ``to_bytes`` gives at most: the room that a spool keeps for one answer.
ANSWER_MAX_BYTES: Final = _HEAD.size + 2 * _TEXT_MAX_BYTES + limits.BODY_MAX_BYTES


class AnswerCorruptError(ValueError):
    """The bytes are not those of an answer. The message never quotes them."""


@dataclass(frozen=True, slots=True, repr=False)
class HttpAnswer:
    """One answer of any status, redirects included. Not printable: the body may hold tokens.

    ``refusal`` is "" or says why the body was not read whole; then ``body`` must not be used.
    """

    status: int
    content_type: str  # as sent, cut at TEXT_MAX_CHARS; "" when absent
    body: Sensitive  # at most BODY_MAX_BYTES
    retry_after_s: float | None = None  # 0 to RETRY_AFTER_MAX_S
    refusal: str = ""  # in our own words

    def to_bytes(self) -> Sensitive:
        """Format 1, big-endian: u8 format, u16 status, u8 whether there is a delay, f64 delay in
        seconds (0 where there is none), u16 length of the content type, u16 length of the
        refusal, u32 length of the body; then these three, texts in UTF-8.

        ValueError for what is outside the bounds above.
        """
        content_type = self.content_type.encode("utf-8", "surrogatepass")
        refusal = self.refusal.encode("utf-8", "surrogatepass")
        body = self.body.reveal()
        delay_s = self.retry_after_s
        if not _within_bounds(self.status, delay_s, content_type, refusal, body):
            raise ValueError("an answer outside its bounds")
        head = _HEAD.pack(
            _FORMAT,
            self.status,
            delay_s is not None,
            abs(delay_s or 0.0),
            len(content_type),
            len(refusal),
            len(body),
        )
        return Sensitive(head + content_type + refusal + body)

    @classmethod
    def from_bytes(cls, stored: Sensitive) -> HttpAnswer:
        """What ``to_bytes`` gave; each answer has one spelling. Raises ``AnswerCorruptError``."""
        data = stored.reveal()
        if len(data) < _HEAD.size or data[0] != _FORMAT:
            raise AnswerCorruptError("not an answer of format 1")
        _, status, delayed, delay_s, *lengths = _HEAD.unpack_from(data)
        type_end = _HEAD.size + lengths[0]
        refusal_end = type_end + lengths[1]
        if len(data) != refusal_end + lengths[2]:
            raise AnswerCorruptError("not as long as it says")
        content_type, refusal = data[_HEAD.size : type_end], data[type_end:refusal_end]
        body = data[refusal_end:]
        spelled = delayed in (0, 1) and math.copysign(1.0, delay_s) > 0 and (delayed or not delay_s)
        if not spelled or not _within_bounds(status, delay_s, content_type, refusal, body):
            raise AnswerCorruptError("a value outside its bounds")
        try:
            texts = [one.decode("utf-8", "surrogatepass") for one in (content_type, refusal)]
        except UnicodeDecodeError:
            raise AnswerCorruptError("a text that is not UTF-8") from None
        return cls(status, texts[0], Sensitive(body), delay_s if delayed else None, texts[1])


def _within_bounds(
    status: int, delay_s: float | None, content_type: bytes, refusal: bytes, body: bytes
) -> bool:
    # Written so that a delay that is no number fails.
    return (
        _STATUS_MIN <= status <= _STATUS_MAX
        and (delay_s is None or 0 <= delay_s <= limits.RETRY_AFTER_MAX_S)
        and max(len(content_type), len(refusal)) <= _TEXT_MAX_BYTES
        and len(body) <= limits.BODY_MAX_BYTES
    )
