"""Logs: only allowed fields, only harmless values."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import uuid
from collections.abc import Iterator
from contextvars import Context
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_service import telemetry
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.sensitive import Sensitive

CANARY = "canary-5f1b2c"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A place for lines, JSON at level info; the root logger is put back afterwards."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    out = io.StringIO()
    telemetry.configure_logging("info", json=True, stream=out)
    yield out
    telemetry.configure_logging("info", json=True)
    root.handlers, root.level = before


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_its_fields_level_time_and_logger(stream: io.StringIO) -> None:
    """An allowed field stands in the line beside level, time and logger."""
    telemetry.get_logger("some.module").bind(tenant="acme").info("started", port=4711)
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("started", "info", "some.module")
    assert (line["tenant"], line["port"]) == ("acme", 4711)
    assert datetime.fromisoformat(line["time"]).tzinfo is not None


def test_unknown_fields_are_dropped_and_noted(stream: io.StringIO) -> None:
    """A field that is not on the list leaves only its name; odd names not even that."""
    fields = {"refresh_token": CANARY, "body": CANARY, f"x {CANARY}": 1}
    telemetry.get_logger("m").warning("oops", **fields)
    (line,) = lines(stream)
    assert line["dropped"] == "body,refresh_token,?"
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(
    "value",
    [
        Sensitive.from_text(CANARY),
        CANARY.encode(),
        bytearray(CANARY.encode()),
        memoryview(CANARY.encode()),
        [CANARY],
        {"a": CANARY},
        (Sensitive.from_text(CANARY),),
        2**100,
        object(),
    ],
    ids=lambda v: type(v).__name__,
)
def test_values_of_other_types_never_pass(stream: io.StringIO, value: object) -> None:
    """Secrets, bytes, containers and objects are withheld even in an allowed field."""
    telemetry.get_logger("m").info("x", status=value)
    assert lines(stream)[0]["status"] == "<withheld>"
    assert CANARY not in stream.getvalue()


def test_exceptions_give_type_and_place_but_no_text(stream: io.StringIO) -> None:
    """A foreign exception shows its type and where it was raised, never its message."""
    try:
        raise KeyError(CANARY)
    except KeyError as error:
        telemetry.get_logger("m").error("failed", error=error)
    (line,) = lines(stream)
    assert line["error"] == "KeyError"
    assert line["where"].startswith("test_telemetry.py:")
    assert CANARY not in stream.getvalue()


def test_our_own_errors_give_reason_and_message(stream: io.StringIO) -> None:
    """A VaultError's message is made to be read and is shown."""
    telemetry.get_logger("m").error("x", error=VaultError(Reason.OVERLOADED, "slow down"))
    assert lines(stream)[0]["error"] == "OVERLOADED: slow down"


def test_simple_values_keep_their_form(stream: io.StringIO) -> None:
    """Numbers stay numbers; enums, ids and moments become texts."""
    some_id, moment = uuid.UUID(int=7), datetime(2026, 1, 2, tzinfo=UTC)
    log = telemetry.get_logger("m")
    log.info(
        "x", count=3, delay_s=0.5, state=None, reason=Reason.INTERNAL, grant=some_id, step=moment
    )
    line = lines(stream)[0]
    assert (line["count"], line["delay_s"], line["state"]) == (3, 0.5, None)
    assert (line["reason"], line["grant"]) == ("INTERNAL", str(some_id))
    assert line["step"] == "2026-01-02T00:00:00+00:00"


@given(st.text(max_size=2_000))
def test_escaped_text_is_one_short_printable_line(text: str) -> None:
    """Whatever the text, what is shown is short, printable ASCII on one line."""
    shown = telemetry.escape(text)
    assert len(shown) <= 256 + 3
    assert shown.isascii()
    assert shown.isprintable()


def test_lines_below_the_threshold_are_not_written(stream: io.StringIO) -> None:
    """At level info a debug line is dropped; another level is refused."""
    telemetry.get_logger("m").debug("x")
    assert stream.getvalue() == ""
    with pytest.raises(ValueError, match="level is one of"):
        telemetry.configure_logging("loud", json=True)


def test_positional_arguments_are_refused(stream: io.StringIO) -> None:
    """There is no %-formatting that could smuggle a value past the list."""
    log: Any = telemetry.get_logger("m")
    with pytest.raises(TypeError):
        log.info("token %s", CANARY)
    assert stream.getvalue() == ""


def test_people_get_columns(stream: io.StringIO) -> None:
    """The form for people is redacted just the same."""
    telemetry.configure_logging("info", json=False, stream=stream)
    telemetry.get_logger("m").info("started", tenant="acme", password=CANARY)
    assert "started" in stream.getvalue()
    assert "tenant=acme" in stream.getvalue()
    assert CANARY not in stream.getvalue()


def test_libraries_show_their_template_and_no_argument(stream: io.StringIO) -> None:
    """A library's warning gives its name and template; arguments and built texts stay out."""
    logging.getLogger("somelib").warning("request to %s failed", CANARY)
    logging.getLogger("somelib").warning(f"made by hand {CANARY}")
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger("asyncio").exception(f"Task exception was never retrieved\n{CANARY}")
    logging.getLogger("somelib").info("not shown")
    first, second, third = lines(stream)
    assert (first["library"], first["template"]) == ("somelib", "request to %s failed")
    assert "template" not in second
    assert third["template"] == "Task exception was never retrieved"
    assert (third["level"], third["error"]) == ("error", "ValueError")
    assert CANARY not in stream.getvalue()


def test_redaction_needs_no_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """A logger used before any set-up writes redacted JSON to standard error only."""
    telemetry.get_logger("m").error("x", password=CANARY, tenant="acme")
    out, err = capsys.readouterr()
    assert out == ""
    assert CANARY not in err
    assert json.loads(err)["tenant"] == "acme"


async def test_lines_of_a_call_have_its_ids(stream: io.StringIO) -> None:
    """Each line that a call's task writes has its request id and trace id, and so have the tasks
    that it starts; what runs in an empty context has none, and an explicit id stands."""
    log = telemetry.get_logger("m")

    async def call(number: int) -> None:
        telemetry.work_for_call(f"r-{number}", f"t-{number}")
        await asyncio.sleep(0)
        await asyncio.create_task(asyncio.to_thread(log.info, "line", count=number))

    async def batch() -> None:
        log.info("batch")

    await asyncio.gather(*(asyncio.create_task(call(number)) for number in range(3)))
    await asyncio.get_running_loop().create_task(batch(), context=Context())
    telemetry.work_for_call("r-9", "t-9")
    log.info("explicit", request_id="r-1")
    *calls, one, explicit = lines(stream)
    seen = {(line["count"], line["request_id"], line["trace_id"]) for line in calls}
    assert seen == {(number, f"r-{number}", f"t-{number}") for number in range(3)}
    assert "request_id" not in one
    assert (explicit["request_id"], explicit["trace_id"]) == ("r-1", "t-9")
