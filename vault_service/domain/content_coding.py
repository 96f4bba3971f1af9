"""What a careful person reads in an answer: its coding undone, whatever its label says.

Servers compress unasked, label plain bytes as compressed, compress without a label, put a charset
where the coding belongs. So the bytes decide and the label is a hint. Nothing here grows beyond
BODY_MAX_BYTES, and at most CODINGS_MAX_COUNT codings are undone, so a bomb stays small.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from vault_service.domain import limits
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.sensitive import Sensitive

_GZIP: Final = b"\x1f\x8b\x08"
_BEFORE_GZIP: Final = b" \t\r\n\xef\xbb\xbf"  # what a script printed before it was compressed
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15
_KNOWN: Final = {"gzip", "x-gzip", "deflate"}
_BLOCK_BYTES: Final = 512  # what is lost at most of a stream that breaks, before it is looked at
_TOKEN: Final = re.compile(rb"access_?token[\"'\\]*\s*[:=]", re.I)  # a member or a form field
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_PLAIN: Final = (b"{", b"[", b"\xef\xbb\xbf")


def contents(answer: HttpAnswer) -> tuple[Sensitive, ...]:
    """The bodies to try, in this order, each at most BODY_MAX_BYTES with its codings undone.

    First what the answer's framing covers. Where more came than that (a Content-Length that is too
    small), then all that came. Before both, what stands in chunks that no header announced, since
    their sizes could be read as part of a text. A coding that is not known is only a label, and a
    stream that is cut gives what could be decoded. There is always one; it may be empty.
    """
    body, label = answer.body.reveal(), answer.content_encoding
    bodies = [body]
    if answer.framed_bytes is not None and answer.framed_bytes != len(body):
        bodies.insert(0, body[: answer.framed_bytes])
    if bare := _unchunked(body):
        bodies.insert(0, bare)
    return tuple(Sensitive(decoded(one, label)) for one in bodies)


def came_whole(answer: HttpAnswer) -> bool:
    """Whether nothing says that its end is missing: neither its framing, nor bytes beyond it, nor a
    coding's stream."""
    body = answer.body.reveal()
    beyond = b"" if answer.framed_bytes is None else body[answer.framed_bytes :]
    whole = not answer.refusal and not beyond.strip()
    return whole and _decoded(body, answer.content_encoding)[1]


def shows_a_token(answer: HttpAnswer) -> bool:
    """Whether something in it is named as a token is, at whatever status."""
    return any(_TOKEN.search(content.reveal()) for content in contents(answer))


def decoded(body: bytes, label: str) -> bytes:
    """``body`` with its codings undone (RFC 9110 §8.4.1), cut at BODY_MAX_BYTES. ``label`` is the
    Content-Encoding as it came; what it says and the bytes do not show is ignored."""
    return _decoded(body, label)[0]


def _decoded(body: bytes, label: str) -> tuple[bytes, bool]:
    """The same, and whether every stream came to its end."""
    names = [name.strip().lower() for name in label.split(",")]
    codings = [name for name in reversed(names) if name in _KNOWN]
    whole = True
    for turn in range(limits.CODINGS_MAX_COUNT):
        inflated = _inflated(body, turn < len(codings))
        if inflated is None:
            break
        body, ended = inflated
        whole = whole and ended
    return body[: limits.BODY_MAX_BYTES], whole and len(body) <= limits.BODY_MAX_BYTES


def is_compressed(body: bytes) -> bool:
    """Whether it begins as gzip does, which no text does."""
    return body.startswith(_GZIP)


def _inflated(body: bytes, labelled: bool) -> tuple[bytes, bool] | None:
    """One coding undone, and whether its end came; None where the bytes show no coding."""
    if is_compressed(bare := body.lstrip(_BEFORE_GZIP)):
        return _members(bare)
    if not body or body.lstrip().startswith(_PLAIN):
        return None
    # Without a label only a stream that is whole counts: "x" may begin a text.
    if body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0:
        data, whole, _ = _stream(body, _ZLIB_BITS)
        if whole or (labelled and data):
            return data, whole
    if labelled:
        # "deflate" is zlib's format, and old servers send the bare stream (RFC 9110 §8.4.1.2).
        data, whole, _ = _stream(body, _RAW_BITS)
        if whole or data.lstrip().startswith(_PLAIN):
            return data, whole
    return None


def _members(body: bytes) -> tuple[bytes, bool]:
    """All members of a gzip file (RFC 1952 §2.2); what stands behind them is left out."""
    found, whole = bytearray(), True
    while whole and is_compressed(body) and len(found) <= limits.BODY_MAX_BYTES:
        data, whole, body = _stream(body, _GZIP_BITS)
        found += data
    return bytes(found), whole


def _unchunked(body: bytes) -> bytes:
    """What stands in chunks (RFC 9112 §7.1), where all of it does; else nothing."""
    found, at = bytearray(), 0
    while (head := _CHUNK.match(body, at)) and (size := int(head[1], 16)):
        found += body[head.end() : head.end() + size]
        at = head.end() + size + 2
        if body[at - 2 : at] != b"\r\n":
            return b""
    return bytes(found) if head else b""


def _stream(body: bytes, bits: int) -> tuple[bytes, bool, bytes]:
    """(what could be decoded, whether the stream came to its end, what stands behind it)."""
    stream = zlib.decompressobj(bits)
    found = bytearray()
    for at in range(0, len(body), _BLOCK_BYTES):
        block = body[at : at + _BLOCK_BYTES]
        before = stream.copy()
        try:
            found += stream.decompress(block, limits.BODY_MAX_BYTES + 1 - len(found))
        except zlib.error:
            # Byte by byte, so that nothing before the fault is lost: often it is the checksum.
            found += _until_fault(before, block, limits.BODY_MAX_BYTES - len(found))
            break
        if stream.eof or len(found) > limits.BODY_MAX_BYTES:
            behind = stream.unused_data + body[at + _BLOCK_BYTES :]
            return bytes(found[: limits.BODY_MAX_BYTES]), stream.eof, behind
    return bytes(found), False, b""


def _until_fault(stream: zlib._Decompress, block: bytes, max_bytes: int) -> bytes:
    found = bytearray()
    for at in range(len(block)):
        if len(found) >= max_bytes:
            break
        try:
            found += stream.decompress(block[at : at + 1], max_bytes - len(found))
        except zlib.error:
            break
    return bytes(found)
