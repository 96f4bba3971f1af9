"""One HTTP/1.1 answer from the bytes of a connection, read as leniently as a person would.

A library that finds an answer malformed throws it away, and with it perhaps the only copy of a
single-use token. This parser takes any bytes: it keeps the body that came, and says what was odd.
Framing (RFC 9112 §6) tells where an answer ends; where it is missing, broken or contradicts the
bytes, it is only a hint. A connection whose answer was odd or empty is never used again: its real
body may follow, and would be taken for the next answer.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from vault_service.domain import limits

_STATUS: Final = re.compile(rb"(?:HTTP(?:/[0-9.]{1,8})?|ICY)[ \t]+([1-9][0-9]{2})(?![0-9])", re.I)
_STATUS_CUT: Final = re.compile(rb"(?:HTTP(?:/[0-9.]{1,8})?|ICY)[ \t]+([1-9][0-9]{2})[ \t\r]", re.I)
_PROTOCOLS: Final = (b"HTTP", b"ICY ")
_BEFORE_STATUS: Final = b" \t\xef\xbb\xbf"
_TOKEN: Final = re.compile(rb"access_?token", re.I)
_REUSABLE: Final = b"HTTP/1.1"
_ODD_BYTES: Final = re.compile(rb"[^\t -~]")
_CHUNK_SIZE: Final = re.compile(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?", re.S)
_CHUNK_BEGINS: Final = re.compile(rb"[ \t]*(?:[0-9a-fA-F\r\n]|\Z)")
_LAST_CHUNK: Final = re.compile(rb"\r?\n0+\r?\n(?:\r?\n)?\Z")
_LENGTH: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_KEPT: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "retry-after",
        "transfer-encoding",
    }
)
_VALUES_MAX_COUNT: Final = 8  # of one header that is there several times
_BODILESS: Final = (204, 304)  # RFC 9110 §6.4.1
_LONG: Final = "a line that is very long"
_CLOSED: Final = "the connection was closed before its end"


class _State(Enum):
    STATUS = 1
    HEADER = 2
    LENGTH = 3  # as many bytes as Content-Length says
    UNTIL_CLOSE = 4
    CHUNK_SIZE = 5
    CHUNK = 6
    CHUNK_END = 7
    TRAILER = 8
    DONE = 9


class AnswerParser:
    """Feed it until ``done``, or say with ``ends`` that no more comes. Neither ever raises."""

    def __init__(self, body_max_bytes: int = limits.BODY_MAX_BYTES) -> None:
        self.status = 0  # of the final answer; 0 where no status line came
        self.body = bytearray()  # its framing taken off; what came beyond it stands behind
        self.framed_bytes: int | None = None  # None: all of the body
        self.refusal = ""  # why it is not whole
        self.oddities: list[str] = []
        self._max_bytes = body_max_bytes
        self._state = _State.STATUS
        self._buffer = bytearray()
        self._looked_at = 0  # how far the buffer was searched for the end of a line
        self._wire_bytes = 0
        self._left = 0  # bytes of the body or of the chunk that are to come
        self._headers: dict[str, list[str]] = {}
        self._last = ""  # name of the header that a folded line goes on with
        self._may_persist = False
        self._may_be_headless = True
        self._headless = False  # it is a body only (HTTP/0.9); without a token in it, no answer

    def needs_status_line(self) -> None:
        """Its connection carried an answer before: a body alone may belong to that one, and so to
        somebody else."""
        self._may_be_headless = False

    @property
    def done(self) -> bool:
        """Whether the answer is over."""
        return self._state is _State.DONE

    @property
    def reusable(self) -> bool:
        """Whether the next request may go over the same connection."""
        closes = "close" in self.header("connection").lower()
        clean = self.done and not self.refusal and not self.oddities
        # Where nothing came, what was meant may come yet.
        return clean and bool(self.body.strip()) and self._may_persist and not closes

    def header(self, name: str) -> str:
        """Its values with commas between, "" when absent; only those that matter are kept."""
        return ", ".join(self._headers.get(name, ()))

    def feed(self, data: bytes) -> None:
        """The next bytes of the connection."""
        if self.refusal:
            return
        self._wire_bytes += len(data)
        self._buffer += data
        while self._buffer and self._step():
            pass
        in_head = self._state in (_State.STATUS, _State.HEADER)
        most = limits.HTTP_HEAD_MAX_BYTES if in_head else limits.HTTP_ANSWER_MAX_BYTES
        if not self.done and self._wire_bytes > most:
            self._read_cut_status()
            self._end(f"longer than {most} bytes with its headers")

    def ends(self, why: str) -> None:
        """No more comes. ``why`` is "" for a connection that was closed in order."""
        state, left = self._state, bytes(self._buffer)
        if state is _State.DONE:
            return
        self._read_cut_status()
        over = state is _State.TRAILER or (state is _State.CHUNK_SIZE and left.strip() == b"0")
        if over:
            self._note("the end of its chunks is missing")
            self._end("")
            return
        if state in (_State.STATUS, _State.HEADER) and self.status and _TOKEN.search(left):
            self._add(left)  # a body without an empty line before it
        if state in (_State.CHUNK_SIZE, _State.CHUNK_END):
            self.framed_bytes = len(self.body) or None
            self._add(left)
        if state is _State.CHUNK and (cut := _LAST_CHUNK.search(self.body)):
            # A chunk that is shorter than it says has swallowed the last one.
            self.framed_bytes = cut.start()
        self._end(why if state is _State.UNTIL_CLOSE else why or _CLOSED)

    def _read_cut_status(self) -> None:
        """The status of an answer that ends in its head."""
        if self._state is _State.STATUS:
            found = _STATUS_CUT.match(self._buffer)
            self.status = int(found[1]) if found else 0
        if self.status < 200:
            self.status = 0  # no final answer (RFC 9110 §15.2)

    def _step(self) -> bool:
        """Whether something was taken from the buffer, or another state begins."""
        match self._state:
            case _State.STATUS:
                return self._status_line()
            case _State.HEADER:
                return self._header_line()
            case _State.LENGTH | _State.CHUNK:
                return self._counted()
            case _State.UNTIL_CLOSE:
                self._add(self._take(len(self._buffer)))
            case _State.CHUNK_SIZE:
                return self._chunk_size()
            case _State.CHUNK_END:
                return self._chunk_end()
            case _State.TRAILER:
                line = self._line()
                if line == b"":
                    self._state = _State.DONE
                return line is not None
            case _State.DONE:
                self._beyond()
        return False

    def _status_line(self) -> bool:
        if self._buffer[0] in _BEFORE_STATUS:
            self._note("odd bytes in its status line")
            del self._buffer[0]
            return True
        if self._may_be_headless and self._buffer.startswith(b"{"):
            self._note("no status line")
            self._headless, self.status, self._state = True, 200, _State.UNTIL_CLOSE
            return True
        begins = self._buffer[:4]
        if self._buffer[:1] not in b"\r\n" and not any(_like(begins, one) for one in _PROTOCOLS):
            self._end("no HTTP")
            return False
        line = self._line()
        if line is None:
            return False
        if line == b"":
            self._note("an empty line before its status")
            return True
        found = _STATUS.match(line)
        if found is None:
            self._end("no HTTP")
            return False
        self.status = int(found[1])
        self._may_persist = line.startswith(_REUSABLE)
        self._note_bytes(line, "odd bytes in its status line")
        self._state = _State.HEADER
        return True

    def _header_line(self) -> bool:
        if self._buffer.startswith(b"{"):  # no name of a header begins so
            self._note("no empty line before its body")
            self._begin_body()
            return True
        line = self._line()
        if line is None:
            return False
        if line:
            self._read_header(line)
        elif self.status < 200:
            self.status, self._state = 0, _State.STATUS
            self._headers.clear()
        else:
            self._begin_body()
        return True

    def _read_header(self, line: bytes) -> None:
        self._note_bytes(line, "odd bytes in a header")
        name, colon, value = line.partition(b":")
        if line[:1] in b" \t":
            self._note("a folded header")
            values = self._headers.get(self._last, [""])
            values[-1] = _cut(f"{values[-1]} {_text(line)}")
            return
        self._last = _text(name).lower()
        if not colon or not name or name.endswith((b" ", b"\t")):
            self._note("a malformed header")
        if colon and self._last in _KEPT:
            values = self._headers.setdefault(self._last, [])
            if len(values) < _VALUES_MAX_COUNT:
                values.append(_cut(_text(value)))

    def _begin_body(self) -> None:
        coding = self.header("transfer-encoding").lower()
        length = self._length()
        if self.status in _BODILESS:
            self._state = _State.DONE
        elif "chunked" in coding:
            if self.header("content-length"):
                self._note("Content-Length beside Transfer-Encoding")
            self._state = _State.CHUNK_SIZE
        elif coding not in ("", "identity"):
            self._note("an unknown transfer coding")
            self._state = _State.UNTIL_CLOSE
        elif length is None:
            self._state = _State.UNTIL_CLOSE
        else:
            self._left = length
            self._state = _State.LENGTH if length else _State.DONE

    def _length(self) -> int | None:
        """The one length that the header gives (RFC 9112 §6.3)."""
        values = [value.strip() for value in self.header("content-length").split(",")]
        if values == [""] and "content-length" not in self._headers:
            return None
        if len(set(values)) > 1 or not _LENGTH.fullmatch(values[0]):
            self._note("an unusable Content-Length")
            return None
        if len(values) > 1:
            self._note("Content-Length twice")
        return int(values[0])

    def _counted(self) -> bool:
        data = self._take(min(self._left, len(self._buffer)))
        self._left -= len(data)
        if not self._add(data):
            return False
        if self._left == 0:
            chunked = self._state is _State.CHUNK
            self._state = _State.CHUNK_END if chunked else _State.DONE
        return True

    def _chunk_size(self) -> bool:
        if not _CHUNK_BEGINS.match(self._buffer):
            return self._no_chunk()
        line = self._line()
        if line is None:
            return False
        if line == b"":
            self._note("an empty line before a chunk")
            return True
        found = _CHUNK_SIZE.fullmatch(line)
        if found is None:
            self._buffer[:0] = line + b"\r\n"
            return self._no_chunk()
        self._left = int(found[1], 16)
        self._state = _State.CHUNK if self._left else _State.TRAILER
        return True

    def _no_chunk(self) -> bool:
        """What stands where a chunk should begin: the body itself, or what nobody asked for."""
        if self.body:
            self._note("a malformed chunk size")
            self.framed_bytes = len(self.body)
        else:
            self._note("no chunks although its header says so")
        self._state = _State.UNTIL_CLOSE
        return True

    def _chunk_end(self) -> bool:
        at = self._buffer.find(b"\n", self._looked_at)
        if at < 0:
            self._looked_at = len(self._buffer)
            if self._looked_at > self._max_bytes:
                self._add(self._take(self._looked_at))
            return False
        line = self._take(at + 1)[:-1].removesuffix(b"\r")
        if line:
            self._note("a chunk longer than it says")
        self._state = _State.CHUNK_SIZE
        return self._add(line)

    def _beyond(self) -> None:
        """What comes after the end: kept behind the body, for a length that is too small."""
        self._note("bytes beyond its end")
        if self.framed_bytes is None:
            self.framed_bytes = len(self.body)
        room = self._max_bytes - len(self.body)
        self.body += self._take(len(self._buffer))[:room]

    def _add(self, data: bytes) -> bool:
        room = self._max_bytes - len(self.body)
        self.body += data[:room]
        if len(data) <= room:
            return True
        self._end(f"longer than {self._max_bytes} bytes")
        return False

    def _end(self, refusal: str) -> None:
        self._state = _State.DONE
        self._may_persist = False
        if self._headless and not _TOKEN.search(self.body):
            self.status, refusal = 0, "no HTTP"
        self.refusal = self.refusal or refusal
        self._buffer.clear()

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._looked_at = 0
        return data

    def _line(self) -> bytes | None:
        """The next line without its end, cut at HTTP_LINE_MAX_BYTES; None while it is not whole."""
        at = self._buffer.find(b"\n", self._looked_at)
        if at < 0:
            if len(self._buffer) > limits.HTTP_LINE_MAX_BYTES:
                self._note(_LONG)
                del self._buffer[limits.HTTP_LINE_MAX_BYTES :]
            self._looked_at = len(self._buffer)
            return None
        line = self._take(at + 1)[:-1]
        if len(line) > limits.HTTP_LINE_MAX_BYTES:
            self._note(_LONG)
        if not line.endswith(b"\r"):
            self._note("a line that ends without a carriage return")
        return line.removesuffix(b"\r")[: limits.HTTP_LINE_MAX_BYTES]

    def _note(self, oddity: str) -> None:
        if oddity not in self.oddities and len(self.oddities) < limits.ODDITIES_MAX_COUNT:
            self.oddities.append(oddity)

    def _note_bytes(self, line: bytes, oddity: str) -> None:
        if _ODD_BYTES.search(line):
            self._note(oddity)


def _like(data: bytes | bytearray, expected: bytes) -> bool:
    """Whether it begins so, as far as it is there, in upper or lower case."""
    return data.upper() == expected[: len(data)]


def _text(data: bytes) -> str:
    return data.decode("latin-1").strip()


def _cut(text: str) -> str:
    return text[: limits.TEXT_MAX_CHARS]
