"""The bytes of an answer."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from vault_service.domain import limits
from vault_service.domain.http_answer import ANSWER_MAX_BYTES, AnswerCorruptError, HttpAnswer
from vault_service.domain.sensitive import Sensitive


def _made(content: bytes = b"", **changes: Any) -> HttpAnswer:
    values: dict[str, Any] = {"status": 200, "content_type": "", "body": Sensitive(content)}
    return HttpAnswer(**(values | changes))


def test_layout_is_pinned() -> None:
    """Format 1 is written as the docstring says, byte for byte: a spool outlives an upgrade."""
    answer = _made(b'{"a":1}', content_type="application/json", retry_after_s=7.0, refusal="no")
    assert (
        answer.to_bytes().reveal()
        == bytes.fromhex("0100c801401c0000000000000010000200000007") + b'application/jsonno{"a":1}'
    )


def test_largest_answer_fits() -> None:
    """The largest answer within the bounds is as long as a spool keeps room for."""
    most = "\ud800" * limits.TEXT_MAX_CHARS
    body = b"x" * limits.BODY_MAX_BYTES
    largest = _made(body, content_type=most, refusal=most, retry_after_s=3_600.0)
    assert len(largest.to_bytes()) == ANSWER_MAX_BYTES


@pytest.mark.parametrize(
    "changes",
    [
        {"status": 99},
        {"status": 1_000},
        {"content_type": "x" * 769},
        {"refusal": "x" * 769},
        {"retry_after_s": -1.0},
        {"retry_after_s": 3_600.5},
        {"retry_after_s": math.nan},
        {"retry_after_s": math.inf},
        {"body": Sensitive(b"x" * (limits.BODY_MAX_BYTES + 1))},
    ],
    ids=str,
)
def test_what_is_out_of_bounds_is_not_written(changes: dict[str, Any]) -> None:
    """An answer outside its bounds has no bytes."""
    with pytest.raises(ValueError, match="outside its bounds"):
        _made(**changes).to_bytes()


@pytest.mark.parametrize(
    ("delayed", "delay_s"), [(1, math.nan), (1, -0.0), (1, 3_601.0), (0, 1.0), (2, 0.0), (0, -0.0)]
)
def test_second_spellings_are_refused(delayed: int, delay_s: float) -> None:
    """A delay has one spelling; others are refused, without quoting the bytes."""
    data = struct.pack(">BHBdHHI", 1, 200, delayed, delay_s, 0, 0, 6) + b"canary"
    with pytest.raises(AnswerCorruptError) as caught:
        HttpAnswer.from_bytes(Sensitive(data))
    assert "canary" not in str(caught.value)


def test_other_formats_are_refused() -> None:
    """A format that this release does not know is refused."""
    data = bytearray(_made(b"x").to_bytes().reveal())
    data[0] = 2
    with pytest.raises(AnswerCorruptError, match="format 1"):
        HttpAnswer.from_bytes(Sensitive(bytes(data)))
