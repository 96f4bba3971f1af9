"""Text that a person reads as JSON, rewritten so that a parser of JSON reads it the same way.

Comments, single quotes, names without quotes, commas too many, escapes that are none, and words or
numbers of other languages (None, undefined, NaN, 0x10). A word for nothing becomes null. What
begins as a number and is none becomes a text that is no token: it may be a token without quotes,
and null would hide that one came. Nothing is guessed: text that has anything else stays as it is.
"""

from __future__ import annotations

import re
from typing import Final

_BLANK: Final = r"(?:[\s\ufeff\u200b]++|/\*(?:[^*]|\*(?!/))*+\*/|//[^\n]*+)"
# Each place of a text is looked at once: the first that is no token ends the search.
_TOKEN: Final = re.compile(
    rf"""(?P<blank>{_BLANK}++)
    |(?P<double>"(?:[^"\\]|\\.)*+(?:"|\\?\Z))
    |(?P<single>'(?:[^'\\]|\\.)*+')
    |(?P<number>[+-]?(?:[0-9]|\.[0-9])[0-9A-Za-z_.]*+(?:(?<=[eE])[+-][0-9]++)?|[+-]Infinity)
    |(?P<word>[A-Za-z_$][A-Za-z0-9_$-]*+)
    |(?P<mark>[{{}}\[\]:,])""",
    re.DOTALL | re.VERBOSE,
)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_WORDS: Final = {
    "true": "true", "True": "true", "TRUE": "true",
    "false": "false", "False": "false", "FALSE": "false",
    "null": "null", "None": "null", "NULL": "null",
    "undefined": "null", "NaN": "null", "Infinity": "null",
}  # fmt: skip
_ESCAPE: Final = re.compile(r'(\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))|\\', re.DOTALL)
NO_TOKEN: Final = "\ufffd"  # stands in no token, so none is guessed


def rewritten(text: str) -> str:
    """``text`` as JSON, or unchanged where something in it is not of the kinds above."""
    tokens = _tokens(text)
    if tokens is None:
        return text
    said: list[str] = []
    for at, (kind, token) in enumerate(tokens):
        after = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        if token == ",":
            if after in ("]", "}", ",") or said[-1:] in ([], ["["], ["{"]):
                continue
        elif kind == "word":
            word = f'"{token}"' if after == ":" else _WORDS.get(token)
            if word is None:
                return text
            token = word
        elif kind == "number":
            # The last one may be cut.
            token = token if not after or _NUMBER.fullmatch(token) else f'"{NO_TOKEN}"'
        elif kind == "double":
            token = _escaped(token)
        elif kind == "single":
            token = f'"{_escaped(_requoted(token[1:-1]))}"'
        said.append(token)
    return "".join(said)


def _tokens(text: str) -> list[tuple[str, str]] | None:
    """(kind, text) of each but the blanks; None where there is anything else."""
    found, at = [], 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            return None
        at = token.end()
        if token.lastgroup != "blank":
            found.append((str(token.lastgroup), token[0]))
    return found


def _requoted(text: str) -> str:
    return re.sub(r"\\(.)|\"", _double_quoted, text, flags=re.DOTALL)


def _double_quoted(found: re.Match[str]) -> str:
    if found[0] == '"':
        return r"\""
    return "'" if found[1] == "'" else found[0]


def _escaped(text: str) -> str:
    return _ESCAPE.sub(lambda one: one[1] or NO_TOKEN, text)
