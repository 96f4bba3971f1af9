"""Sensitive: a secret that cannot be shown by accident."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from vault_service.domain.sensitive import SecretExposureError, Sensitive

CANARY = "canary-7f3a"


@dataclass
class Holder:
    """A dataclass with a secret in it."""

    secret: Sensitive


@pytest.fixture
def secret() -> Sensitive:
    return Sensitive.from_text(CANARY)


def test_reveal(secret: Sensitive) -> None:
    """The one way in is reveal, as bytes or as text."""
    assert secret.reveal() == CANARY.encode()
    assert secret.reveal_text() == CANARY
    assert len(secret) == len(CANARY)
    with pytest.raises(UnicodeDecodeError):
        Sensitive(b"\xff").reveal_text()


@pytest.mark.parametrize(
    "show",
    [
        str,
        repr,
        ascii,
        "{}".format,
        "{:>40}".format,
        lambda s: f"{s}",
        lambda s: f"{s!r:50}",
        lambda s: "%s %r" % (s, s),
        lambda s: repr([s]) + repr({"k": s}) + repr(Holder(s)),
        lambda s: str(ValueError(s)),
    ],
)
def test_not_shown(secret: Sensitive, show: Callable[[Any], str]) -> None:
    """Printing and formatting, alone or inside something, show a placeholder."""
    shown = show(secret)
    assert CANARY not in shown
    assert "<sensitive>" in shown


def test_not_logged(secret: Sensitive, caplog: pytest.LogCaptureFixture) -> None:
    """A log line that names it does not show it."""
    logging.getLogger("test").warning("value %s %r", secret, secret)
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s == s,
        lambda s: s == Sensitive.from_text(CANARY),
        lambda s: s != CANARY,
        lambda s: s == CANARY,
        lambda s: s in [CANARY],
        lambda s: s < s,
        hash,
        lambda s: {s: 1},
        lambda s: {s},
        pickle.dumps,
        lambda s: pickle.dumps(s, 0),
        copy.copy,
        copy.deepcopy,
        lambda s: asdict(Holder(s)),
        json.dumps,
        bytes,
        list,
        vars,
        lambda s: s + b"x",
        lambda s: s[0],
        lambda s: b"".join([s]),
    ],
)
def test_not_used(secret: Sensitive, use: Callable[[Any], object]) -> None:
    """It cannot be compared, hashed, pickled, copied, encoded, joined or taken apart."""
    with pytest.raises(TypeError) as caught:
        use(secret)
    assert CANARY not in str(caught.value)


def test_same_as(secret: Sensitive) -> None:
    """Two secrets are compared by same_as."""
    assert secret.same_as(Sensitive.from_text(CANARY))
    assert not secret.same_as(Sensitive.from_text(CANARY + "x"))


def test_truth(secret: Sensitive) -> None:
    """It is true, empty or not: code that asks whether there is one asks for None."""
    assert secret
    assert Sensitive(b"")


@pytest.mark.parametrize("value", [CANARY, None, 5, bytearray(b"x"), [1]])
def test_takes_bytes_only(value: Any) -> None:
    """Anything but bytes is refused without being shown."""
    with pytest.raises(SecretExposureError) as caught:
        Sensitive(value)
    assert CANARY not in str(caught.value)


def test_no_new_attributes(secret: Sensitive) -> None:
    """Nothing can be hung on it, and its value has no plain name."""
    with pytest.raises(AttributeError):
        secret.note = 1  # type: ignore[attr-defined]
    assert not hasattr(secret, "value")
    assert not hasattr(secret, "__dict__")
