"""The bytes of a body as text: by a byte order mark, as UTF-8, or in the charset that is named.

JSON is UTF-8 (RFC 8259 §8.1), so bytes that are UTF-8 are read so whatever the label says. Others
are read in the named charset, and without one as Windows-1252, in which ASCII is the same: a token
is ASCII, so it is never read wrongly, and a name beside it is not needed.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
# The longer marks come first: that of UTF-16 begins that of UTF-32.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Only character sets that contain ASCII; never a codec that transforms, such as zlib or rot13.
_CHARSETS: Final = frozenset(
    (
        "iso8859-1 iso8859-2 iso8859-5 iso8859-7 iso8859-9 iso8859-15 cp1250 cp1251 cp1252 cp1253 "
        "cp1254 cp1255 cp1256 cp1257 cp1258 koi8-r koi8-u shift_jis cp932 euc_jp euc_kr gb2312 gbk "
        "gb18030 big5"
    ).split()
)


def text_of(body: bytes, content_type: str) -> tuple[str, tuple[str, ...]]:
    """The text, and what was odd about it in our own words. Every body has one."""
    for mark, charset in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(charset, "replace"), ("a byte order mark",)
    if charset := _wide(body):
        return body.decode(charset, "replace"), (
            f"{charset[:6].upper()} without a byte order mark",
        )
    try:
        return body.decode(), ()
    except UnicodeDecodeError:
        pass
    named = _named(content_type)
    if named:
        try:
            return body.decode(named), ("in the charset that Content-Type names",)
        except UnicodeDecodeError:
            pass
    return body.decode("cp1252", "replace"), ("neither UTF-8 nor in a charset that is named",)


def _wide(body: bytes) -> str:
    """UTF-16 or UTF-32 by its first character, which is ASCII in everything that we read."""
    for zeros, ends in ((3, "32"), (1, "16")):
        head = body[: zeros + 1]
        if len(head) > zeros and len(body) % (zeros + 1) == 0 and any(head):
            if not any(head[1:]):
                return f"utf-{ends}-le"
            if not any(head[:-1]):
                return f"utf-{ends}-be"
    return ""


def _named(content_type: str) -> str:
    found = _CHARSET.search(content_type)
    if not found:
        return ""
    try:
        name = codecs.lookup(found[1]).name
    except LookupError:
        return ""
    return name if name in _CHARSETS else ""
