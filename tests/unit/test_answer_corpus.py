"""The corpus of answers: every one has its class, and every class and rule is in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.answers import Row, corpus
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import TokenAnswer
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import read_refresh

ROWS = corpus()
TOKENS = [row for row in ROWS if row.facts["expect"] == "TOKENS"]
CUTS_MAX_COUNT = 300  # of one body; a longer one is cut at as many places, evenly
FAILURES = [row for row in ROWS if row.facts["expect"] != "TOKENS"]


def _tokens(read: TokenAnswer) -> tuple[str, str | None]:
    refresh = read.refresh_token
    return read.access_token.reveal().decode(), refresh.reveal().decode() if refresh else None


def _fault(row: Row, answer: HttpAnswer) -> TokenEndpointError:
    with pytest.raises(TokenEndpointError) as caught:
        read_refresh(answer, row.profile, ())
    return caught.value


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_answers_are_classified(row: Row) -> None:
    """Each answer of the corpus has its class, its status, its error code and its delay."""
    facts = row.facts
    if facts["expect"] == "TOKENS":
        answer = read_refresh(row.answer, row.profile, ())
        assert _tokens(answer) == row.tokens
        assert facts.get("oddity") in (None, *answer.oddities)
        assert facts.get("life_s") in (None, answer.expires_in_s)
        return
    error = _fault(row, row.answer)
    assert error.answer_class.name == facts["expect"]
    assert (error.status, error.error) == (facts["status"], facts.get("error", ""))
    assert error.retry_after_s == facts.get("retry_after_s")


@pytest.mark.parametrize("row", FAILURES, ids=str)
def test_detail_never_quotes_the_body(row: Row) -> None:
    """The detail tells status, length and media type; of the body only the error code is told."""
    answer = row.answer
    error = _fault(row, answer)
    assert error.detail.startswith(f"status {answer.status}, {len(answer.body)} bytes, ")
    assert len(error.detail) < limits.TEXT_MAX_CHARS
    body = Sensitive(b"canary-1 {" + answer.body.reveal())
    assert "canary" not in str(_fault(row, HttpAnswer(answer.status, "canary<x>", body)))


def _cut(answer: HttpAnswer) -> Iterator[HttpAnswer]:
    """It as its connection, or its Content-Length, ends it at every byte."""
    body = answer.body.reveal()
    for at in range(0, len(body), len(body) // CUTS_MAX_COUNT + 1):
        yield replace(answer, body=Sensitive(body[:at]), refusal="closed before its end")
        yield replace(answer, framed_bytes=at)


def _outcome(row: Row, answer: HttpAnswer) -> tuple[str, str | None] | AnswerClass:
    try:
        return _tokens(read_refresh(answer, row.profile, ()))
    except TokenEndpointError as error:
        return error.answer_class


@pytest.mark.parametrize("row", TOKENS, ids=str)
def test_a_cut_gives_no_other_tokens(row: Row) -> None:
    """Cut anywhere, an answer gives the tokens of the whole one, or none and is kept."""
    for answer in _cut(row.answer):
        assert _outcome(row, answer) in (row.tokens, AnswerClass.UNREADABLE_SUCCESS)
