"""Logs that cannot tell a secret: field names come from an allow-list, values are cut and escaped.

The redaction is part of each logger and works before ``configure_logging`` was called. A field
that is not on the list is dropped and its name noted, so that a slip shows without leaking.
Exceptions give their type and where they were raised, never their text: a driver's error may
quote a row or a request body.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TextIO, cast

import msgspec
import structlog

from vault_service.telemetry.context import ids_of_the_call
from vault_service.telemetry.fields import ALLOWED_FIELDS, clean

_FRAMES_MAX: Final = 8
_NAMES_MAX: Final = 8
_NAME_MAX_CHARS: Final = 32

EventDict = MutableMapping[str, Any]
Render = Callable[[Any, str, EventDict], str]


class Logger(Protocol):
    """What ``get_logger`` gives: an event in plain words, and fields by name."""

    def bind(self, **fields: object) -> Logger:
        """A logger that adds these fields to every line."""

    def debug(self, event: str, /, **fields: object) -> None:
        """For developers."""

    def info(self, event: str, /, **fields: object) -> None:
        """Normal course."""

    def warning(self, event: str, /, **fields: object) -> None:
        """Handled, but somebody may want to look."""

    def error(self, event: str, /, **fields: object) -> None:
        """Something failed; ``error=exception`` gives its type and place."""


def configure_logging(level: str, json: bool, stream: TextIO | None = None) -> None:
    """Set the threshold ("debug", "info", "warning", "error") and the form of all loggers.

    One JSON object a line, or columns for people; to standard error unless ``stream`` is given.
    The libraries' own loggers come out through the same redaction, from "warning" up. Raises
    ValueError for another level.
    """
    if level not in _LEVELS:
        raise ValueError(f"level is one of {', '.join(_LEVELS)}, not {level!r}")
    _state.threshold = _LEVELS[level]
    _state.stream = stream
    _state.render = _json if json else structlog.dev.ConsoleRenderer(colors=_is_terminal(stream))
    root = logging.getLogger()
    root.handlers = [_LibraryHandler(max(_state.threshold, logging.WARNING))]
    root.setLevel(logging.WARNING)


def get_logger(name: str) -> Logger:
    """The logger of a module; ``name`` is its ``__name__``."""
    logger = structlog.wrap_logger(
        _Sink(),
        processors=[_below_threshold, _stamp, redact, _render],
        wrapper_class=_FieldsOnly,
    )
    return cast(Logger, logger.bind(logger=name))


def redact(_logger: object, _method: str, fields: EventDict) -> EventDict:
    """A structlog processor: only allowed names, only harmless values."""
    kept: EventDict = {}
    dropped: list[str] = []
    for name, value in fields.items():
        if name in ALLOWED_FIELDS:
            kept[name] = clean(value)
        else:
            dropped.append(name)
    if isinstance(fields.get("error"), BaseException):
        kept["where"] = _where(fields["error"])
    if dropped:
        shown = (n if n.isidentifier() else "?" for n in sorted(dropped)[:_NAMES_MAX])
        kept["dropped"] = ",".join(n[:_NAME_MAX_CHARS] for n in shown)
    return kept


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    return " > ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames)


_LEVELS: Final[Mapping[str, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _State:
    """How lines come out; changed only by ``configure_logging``."""

    threshold: int = _LEVELS["info"]
    stream: TextIO | None = None
    render: Render


_state: Final = _State()
_encoder: Final = msgspec.json.Encoder()


def _json(logger: Any, method: str, fields: EventDict) -> str:
    return _encoder.encode(fields).decode()


_state.render = _json


def _is_terminal(stream: TextIO | None) -> bool:
    return (stream or sys.stderr).isatty()


class _FieldsOnly(structlog.BoundLoggerBase):
    """A logger without %-formatting: what is not a named field cannot be checked by name."""

    def debug(self, event: str, /, **fields: object) -> None:
        self._proxy_to_logger("debug", event, **fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._proxy_to_logger("info", event, **fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._proxy_to_logger("warning", event, **fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._proxy_to_logger("error", event, **fields)


class _Sink:
    """Writes whole lines; standard error is looked up late, since tests replace it."""

    def _write(self, line: str) -> None:
        stream = _state.stream or sys.stderr
        stream.write(line + "\n")
        stream.flush()

    debug = info = warning = error = _write


def _below_threshold(_logger: object, method: str, fields: EventDict) -> EventDict:
    if _LEVELS[method] < _state.threshold:
        raise structlog.DropEvent
    return fields


def _stamp(_logger: object, method: str, fields: EventDict) -> EventDict:
    fields["level"] = method
    fields["time"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    ids = ids_of_the_call()
    if ids is not None:
        fields.setdefault("request_id", ids[0])
        fields.setdefault("trace_id", ids[1])
    return fields


def _render(logger: Any, method: str, fields: EventDict) -> str:
    return _state.render(logger, method, fields)


class _LibraryHandler(logging.Handler):
    """Lines of libraries: which, where, and the text before its arguments were put in."""

    def emit(self, record: logging.LogRecord) -> None:
        template = record.msg if isinstance(record.msg, str) else ""
        fields: dict[str, object] = {"library": record.name, "operation": record.funcName}
        # Without arguments the text was put together by hand and may quote anything; asyncio's
        # first line is a constant.
        if record.args or record.name == "asyncio":
            fields["template"] = template.split("\n", 1)[0]
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = record.exc_info[1]
        log = get_logger(record.name)
        (log.error if record.levelno >= logging.ERROR else log.warning)("library message", **fields)
