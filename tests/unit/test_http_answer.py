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
    """Format 2 is written as the docstring says, byte for byte: a spool outlives an upgrade."""
    answer = _made(
        b'{"a":1}x',
        content_type="application/json",
        retry_after_s=7.0,
        refusal="no",
        content_encoding="gzip",
        oddities=("a b", "c"),
        framed_bytes=7,
    )
    assert answer.to_bytes().reveal() == (
        bytes.fromhex("0200c801401c00000000000000100002000000080004000500000007")
        + b'application/jsonnogzipa b\nc{"a":1}x'
    )


def test_format_1_is_read() -> None:
    """What release 0.1 left in a spool is read by this one."""
    stored = bytes.fromhex("0100c801401c0000000000000010000200000007") + (
        b'application/jsonno{"a":1}'
    )
    answer = HttpAnswer.from_bytes(Sensitive(stored))
    assert (answer.status, answer.content_type, answer.body.reveal()) == (
        200,
        "application/json",
        b'{"a":1}',
    )
    assert (answer.retry_after_s, answer.refusal, answer.noted) == (7.0, "no", "no")
    assert (answer.content_encoding, answer.oddities, answer.framed_bytes) == ("", (), None)
    assert HttpAnswer.from_bytes(answer.to_bytes()).to_bytes().same_as(answer.to_bytes())


@pytest.mark.parametrize("cut", [1, 19, 20, 27])
def test_half_a_head_is_refused(cut: int) -> None:
    """What is shorter than a head is no answer."""
    with pytest.raises(AnswerCorruptError):
        HttpAnswer.from_bytes(Sensitive(_made(b"x").to_bytes().reveal()[:cut]))


def test_largest_answer_fits() -> None:
    """The largest answer within the bounds is as long as a spool keeps room for."""
    most = "\ud800" * limits.TEXT_MAX_CHARS
    body = b"x" * limits.BODY_MAX_BYTES
    largest = _made(
        body,
        content_type=most,
        refusal="r" * limits.TEXT_MAX_CHARS,
        retry_after_s=3_600.0,
        content_encoding="c" * limits.CODING_MAX_CHARS,
        oddities=("o" * limits.ODDITY_MAX_CHARS,) * limits.ODDITIES_MAX_COUNT,
    )
    assert len(largest.to_bytes()) == ANSWER_MAX_BYTES


@pytest.mark.parametrize(
    "changes",
    [
        {"status": 99},
        {"status": 1_000},
        {"content_type": "x" * 769},
        {"refusal": "x" * 257},
        {"refusal": "a\nb"},
        {"content_encoding": "x" * 65},
        {"content_encoding": "\xe9"},
        {"oddities": ("x",) * 9},
        {"oddities": ("x" * 65,)},
        {"oddities": ("",)},
        {"oddities": ("a\nb",)},
        {"framed_bytes": 1},
        {"framed_bytes": -1},
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
    data[0] = 3
    with pytest.raises(AnswerCorruptError, match="format 1 or 2"):
        HttpAnswer.from_bytes(Sensitive(bytes(data)))
