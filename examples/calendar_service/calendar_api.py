"""The API whose tokens we use: one GET, bounded in time and size."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tokenvault_client import AccessToken

_TIMEOUT_S: Final = 10.0
_ANSWER_MAX_BYTES: Final = 65_536


class ApiUnreachable(Exception):
    """The API did not answer."""


@dataclass(frozen=True)
class Answer:
    """An HTTP status and at most 64 KiB of body."""

    status: int
    body: bytes


class CalendarApi:
    """Any number of threads; a connection for each call keeps it simple."""

    def __init__(self, url: str, ca_file: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError(f"the API needs an https URL, not {url!r}: it gets access tokens")
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path or "/"
        self._tls = ssl.create_default_context(cafile=ca_file)

    def read(self, token: AccessToken) -> Answer:
        """What the API says to this token. Raises ApiUnreachable."""
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=_TIMEOUT_S, context=self._tls
        )
        try:
            authorization = f"{token.token_type} {token.value}"
            connection.request("GET", self._path, headers={"Authorization": authorization})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(_ANSWER_MAX_BYTES))
        except (OSError, http.client.HTTPException) as error:
            raise ApiUnreachable(f"{self._host} does not answer: {error}") from error
        finally:
            connection.close()
