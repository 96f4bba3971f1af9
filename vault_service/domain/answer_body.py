"""The members in an answer's body: JSON or a form, whatever the media type says.

A token must not be lost over a label: some send JSON as text or HTML, others a form as JSON.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final
from urllib.parse import unquote_plus

from vault_service.domain.body_text import text_of
from vault_service.domain.content_coding import came_whole, contents
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.lenient_json import Reading, merged, read_object, spelled, squeezed
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.strict_json import JsonRefusedError

_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_FIELDS_MAX_COUNT: Final = 100  # of a form: a token answer has about six
_PAIR: Final = r"[A-Za-z0-9_.%~-]{1,64}=[^&\s<>{}\"]*+"
_FORM: Final = re.compile(rf"{_PAIR}(?:&{_PAIR})*+&?")
_SEPARATOR: Final = re.compile(
    r"(?<![,;\s])[,;\s]++(?=(?:access_token|refresh_token|token_type|expires_in|scope)=)"
)
_NAME: Final = re.compile(r"[\w.\[\]~-]*", re.ASCII)
_TOKENS: Final = frozenset(("accesstoken", "refreshtoken"))  # as ``squeezed`` spells them
# An encoder leaves none of these as it is: quotes, a page or a comment around a value.
_NOT_ENCODED: Final = re.compile(r"[<>{}\"'\s]")
# It is a form only where one of these is in it: "a=b" may be anything.
_TELLING: Final = ("access_token", "error")


def read_members(answer: HttpAnswer) -> Reading:
    """What the body says: the first content that is whole, or else the first whose end is missing.
    Raises ``JsonRefusedError`` with the reason why the first is not readable."""
    why, cut = "", None
    for text, oddities in texts_of(answer):
        try:
            reading = _read(text, answer)
        except JsonRefusedError as error:
            why = why or str(error)
            continue
        reading = replace(reading, oddities=(*oddities, *reading.oddities))
        if not reading.cut:
            return reading
        cut = cut or reading
    if cut is None:
        raise JsonRefusedError(why)
    return cut


def texts_of(answer: HttpAnswer) -> list[tuple[str, tuple[str, ...]]]:
    """The texts to try, best first, each with what was odd about its bytes."""
    return [text_of(one.reveal(), answer.content_type) for one in _contents(answer)]


def _contents(answer: HttpAnswer) -> list[Sensitive]:
    """The one place that takes the bytes."""
    return list(contents(answer))


def _read(text: str, answer: HttpAnswer) -> Reading:
    labelled = answer.content_type.partition(";")[0].strip().lower() == _FORM_TYPE
    form = _form(text.strip(" \t\r\n\0\ufeff"), labelled)
    if any(spelled(form, name) for name in _TELLING):
        cut = not came_whole(answer)
        # A form does not show its end: what stands there may be half of a token or code.
        if cut:
            last, _ = form.popitem()
            if squeezed(last) in {*_TOKENS, "error"}:
                raise JsonRefusedError("a form whose end is missing")
        oddities = () if labelled else ("a form that is not labelled as one",)
        return Reading(form, oddities, cut)
    return read_object(text)


def _form(text: str, labelled: bool) -> dict[str, object]:
    """Its fields, none where it is no form. Labelled, its values may have what a careless server
    leaves as it is (spaces, braces), it may have empty fields and a "?" before it; never its names,
    which tell it from prose with an address in it."""
    text = text.replace("&amp;", "&") if "&" in text else _SEPARATOR.sub("&", text)
    loose = labelled and text[:1] not in ("{", "[", "<", '"')
    as_one = _FORM.fullmatch(text)
    if not (loose or as_one):
        return {}
    pairs = [pair.partition("=") for pair in text.lstrip("?#&").split("&")]
    if len(pairs) > _FIELDS_MAX_COUNT:
        raise JsonRefusedError(f"a form of more than {_FIELDS_MAX_COUNT} fields")
    named = [(unquote_plus(name).strip(), value.strip()) for name, sign, value in pairs if sign]
    if not (as_one or all(_NAME.fullmatch(unquote_plus(name).strip()) for name, _, _ in pairs)):
        return {}
    if any(map(_SEPARATOR.search, (value for _, value in named))):
        raise JsonRefusedError("a form with two kinds of separators")
    return _decoded(named)


def _decoded(named: list[tuple[str, str]]) -> dict[str, object]:
    """The fields with their values decoded, and the tokens among them both in the same way."""
    tokens = [value for name, value in named if squeezed(name) in _TOKENS]
    if any(map(_NOT_ENCODED.search, tokens)):
        raise JsonRefusedError("a form with a token that is not encoded")
    # An encoder leaves neither "/" nor "=" as it is, so beside them "+" is itself too (Base64).
    as_it_is = "%" not in "".join(tokens) and any("/" in one or "=" in one for one in tokens)
    return merged(
        (name, value if as_it_is and squeezed(name) in _TOKENS else unquote_plus(value))
        for name, value in named
    )
