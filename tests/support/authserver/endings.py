"""How the bytes of an answer are framed, labelled and ended: as servers do that mean no harm."""

from __future__ import annotations

import gzip
import json
import zlib
from http import HTTPStatus
from urllib.parse import urlencode

import msgspec

from tests.support.authserver.faults import Answer, Ending

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_SUCCESS = range(200, 300)
_BOM = b"\xef\xbb\xbf"
_MORE_BYTES = 7  # that are announced and never come
_STRANGER = "Stra\u00dfe"  # no ASCII, and in Latin-1
WRAPPER = "data"


def framed(answer: Answer, ending: Ending | None) -> tuple[bytes, bool]:
    """The whole answer on the wire, and whether the connection must be closed after it. Refusals
    are as they are: what may be lost is in a success."""
    if ending is None or answer.status not in _SUCCESS:
        return head(answer) + answer.body, False
    answer = _relabelled(answer, ending)
    if ending is Ending.NO_LAST_CHUNK:
        chunk = b"%x\r\n%s\r\n" % (len(answer.body), answer.body)
        return _head(answer, "Transfer-Encoding: chunked") + chunk, True
    if ending is Ending.LENGTH_TOO_LARGE:
        length = f"Content-Length: {len(answer.body) + _MORE_BYTES}"
        return _head(answer, length) + answer.body, True
    if ending is Ending.NO_LENGTH:
        return _head(answer, "Connection: close") + answer.body, True
    if ending is Ending.ODD_HEADERS:
        odd = ("a line without a colon", "X-Odd : a space before it", "X-\u00fc: \u00e4\x01")
        length = f"Content-Length: {len(answer.body)}"
        return _head(answer, *odd, length) + answer.body, False
    return head(answer) + answer.body, False


def head(answer: Answer) -> bytes:
    """Status line and headers."""
    return _head(answer, f"Content-Length: {len(answer.body)}")


def _head(answer: Answer, *more: str) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Unknown')}",
        f"Content-Type: {answer.content_type}",
        *more,
        "Cache-Control: no-store",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _relabelled(answer: Answer, ending: Ending) -> Answer:
    changed = msgspec.structs.replace
    body = answer.body
    if ending is Ending.GZIP:
        return changed(answer, body=gzip.compress(body), headers=_coded(answer, "gzip"))
    if ending is Ending.DEFLATE:
        return changed(answer, body=zlib.compress(body), headers=_coded(answer, "deflate"))
    if ending is Ending.MISLABELLED:
        return changed(answer, headers=_coded(answer, "utf-8"))
    if ending is Ending.BOM:
        return changed(answer, body=_BOM + body)
    if ending is Ending.LATIN_1:
        members = json.loads(body) | {"street": _STRANGER}
        text = json.dumps(members, ensure_ascii=False)
        labelled = "application/json; charset=ISO-8859-1"
        return changed(answer, body=text.encode("latin-1"), content_type=labelled)
    if ending is Ending.FORM:
        form = "application/x-www-form-urlencoded"
        return changed(answer, body=urlencode(json.loads(body)).encode(), content_type=form)
    if ending is Ending.WRAPPED:
        return changed(answer, body=json.dumps({WRAPPER: json.loads(body)}).encode())
    return answer


def _coded(answer: Answer, coding: str) -> dict[str, str]:
    return {**answer.headers, "Content-Encoding": coding}
