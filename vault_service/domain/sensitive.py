"""A secret has a type of its own, so that showing one by accident is an error.

``Sensitive`` cannot be printed, compared, hashed, pickled, copied or formatted. The one way
in is ``reveal()``, which a reviewer finds with one search.
"""

from __future__ import annotations

import hmac
from typing import NoReturn, final


class SecretExposureError(TypeError):
    """Code tried to show, compare or serialise a secret."""


@final
class Sensitive:
    """Holds secret bytes; opened only by ``reveal``."""

    __slots__ = ("__value",)

    def __init__(self, value: bytes) -> None:
        if not isinstance(value, bytes):
            raise SecretExposureError("Sensitive takes bytes; encode the text first")
        self.__value = value

    @classmethod
    def from_text(cls, text: str) -> Sensitive:
        """The UTF-8 bytes of a text."""
        return cls(text.encode())

    def reveal(self) -> bytes:
        """The secret bytes. Every use of this is a place to review."""
        return self.__value

    def reveal_text(self) -> str:
        """The secret as UTF-8 text; raises UnicodeDecodeError where it is not."""
        return self.__value.decode()

    def same_as(self, other: Sensitive) -> bool:
        """Whether both hold the same bytes, in time that tells nothing about where they differ."""
        return hmac.compare_digest(self.__value, other.reveal())

    def __len__(self) -> int:
        return len(self.__value)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return "<sensitive>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<sensitive>"

    def __eq__(self, other: object) -> NoReturn:
        raise SecretExposureError("secrets are compared with same_as")

    def __hash__(self) -> NoReturn:
        raise SecretExposureError("a secret is no key")

    def __reduce__(self) -> NoReturn:
        raise SecretExposureError("secrets are not pickled or copied")
