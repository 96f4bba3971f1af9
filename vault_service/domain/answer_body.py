"""The members in an answer's body: JSON or a form, whatever the media type says.

A token must not be lost over a label: some send JSON as text or HTML, others a form as JSON.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qsl

from vault_service.domain.body_text import text_of
from vault_service.domain.content_coding import contents
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.lenient_json import Reading, merged, read_object
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.strict_json import JsonRefusedError

_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_FIELDS_MAX_COUNT: Final = 100  # of a form: a token answer has about six
_PAIR: Final = r"[A-Za-z0-9_.%~-]{1,64}=[^&\s<>{}\"]*+"
_FORM: Final = re.compile(rf"{_PAIR}(?:&{_PAIR})*+&?")
# Unlabelled, it is a form only where one of these is in it: "a=b" may be anything.
_TELLING: Final = ("access_token", "error")


def read_members(answer: HttpAnswer) -> Reading:
    """What the body says: the first content that is whole, or else the first whose end is missing.
    Raises ``JsonRefusedError`` with the reason why the first is not readable."""
    why, cut = "", None
    for text, oddities in texts_of(answer):
        try:
            reading = _read(text, answer.content_type)
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


def _read(text: str, content_type: str) -> Reading:
    labelled = content_type.partition(";")[0].strip().lower() == _FORM_TYPE
    bare = text.strip(" \t\r\n\0\ufeff")
    if _FORM.fullmatch(bare):
        form = _form(bare)
        if labelled or any(form.get(name) for name in _TELLING):
            oddities = () if labelled else ("a form that is not labelled as one",)
            return Reading(form, oddities)
    return read_object(text)


def _form(text: str) -> dict[str, object]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS_MAX_COUNT)
    except ValueError:
        raise JsonRefusedError(f"a form of more than {_FIELDS_MAX_COUNT} fields") from None
    return merged(pairs)
