"""The parser of HTTP answers and the decoder take any bytes, and pieces change nothing."""

from __future__ import annotations

import gzip
import itertools
import zlib

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.odd_answers import ODD_ANSWERS, raw_deflate
from vault_service.domain import limits
from vault_service.domain.content_coding import decoded
from vault_service.egress.answer_parser import AnswerParser

_WIRES = st.sampled_from([odd.wire for odd in ODD_ANSWERS.values() if len(odd.wire) < 4_000])
_LABELS = st.sampled_from(["", "gzip", "x-gzip", "deflate", "br", "utf-8", "gzip, gzip", ","])


def _parsed(pieces: list[bytes]) -> tuple[object, ...]:
    parser = AnswerParser()
    for piece in pieces:
        parser.feed(piece)
    parser.ends("cut")
    assert parser.done
    return parser.status, bytes(parser.body), parser.framed_bytes, parser.refusal


@given(_WIRES, st.data())
def test_pieces_change_nothing(wire: bytes, data: st.DataObject) -> None:
    """An answer that comes in pieces, or with a byte changed or cut off, is read as in one."""
    at = data.draw(st.integers(0, len(wire) - 1))
    changed = bytearray(wire[: data.draw(st.integers(at, len(wire)))])
    if at < len(changed):
        changed[at] ^= data.draw(st.integers(0, 255))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(changed)), max_size=6)))
    edges = [0, *cuts, len(changed)]
    pieces = [bytes(changed[a:b]) for a, b in itertools.pairwise(edges)]
    assert _parsed(pieces) == _parsed([bytes(changed)])


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]),
)
def test_any_bytes_are_parsed(data: bytes, head: bytes) -> None:
    """Nothing raises, whatever comes; a status line that came is known."""
    assert (_parsed([head + data])[0] == 200) or not head


@given(st.binary(max_size=3_000), st.sampled_from([gzip.compress, zlib.compress, raw_deflate]))
def test_what_is_coded_is_decoded(content: bytes, code: object) -> None:
    """What one of the codings made of an object is undone, under its label."""
    assert callable(code)
    body = b'{"x":"' + content.hex().encode() + b'"}'
    assert decoded(code(body), "gzip" if code is gzip.compress else "deflate") == body


@given(st.binary(max_size=3_000), _LABELS, st.integers(0, 3_000))
def test_any_coded_bytes_are_bounded(data: bytes, label: str, cut: int) -> None:
    """Any bytes under any label give something within the bound; plain objects stay as they are,
    and a stream that is cut gives the beginning of what it held."""
    assert len(decoded(data, label)) <= limits.BODY_MAX_BYTES
    plain = b"{" + data
    assert decoded(plain, label) == plain
    assert plain.startswith(decoded(gzip.compress(plain)[: 18 + cut], "gzip"))
