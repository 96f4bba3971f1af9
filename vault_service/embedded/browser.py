"""Stands in for a person's browser at the demo provider: follows one consent, keeps nothing."""

from __future__ import annotations

import http.client
import re
import ssl
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

from vault_service.embedded.machine import EmbeddedError

_LIMIT_S = 10.0
_BODY_MAX_BYTES = 65_536
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Returned:
    """What the redirect to the application carried."""

    state: str
    code: str
    iss: str


class Browser:
    """Trusts the development CA only."""

    def __init__(self, ca_file: Path) -> None:
        self._tls = ssl.create_default_context(cafile=str(ca_file))

    def consent(self, url: str, *, user: str) -> Returned:
        """Open the authorization URL, press "Allow" as ``user``, return the callback."""
        status, _, page = self._request("GET", url)
        if status != 200:
            raise EmbeddedError(f"the demo provider's consent page answered {status}")
        fields = {name: unescape(value) for name, value in _HIDDEN.findall(page)}
        form = urlencode(fields | {"user": user, "decision": "allow"})
        target = urljoin(url, urlsplit(url).path)
        status, location, _ = self._request("POST", target, form)
        if status not in (302, 303):
            raise EmbeddedError(f"the demo provider's consent answered {status}")
        query = parse_qs(urlsplit(location).query)
        if "code" not in query:
            raise EmbeddedError(f"no code came back: {query.get('error', ['?'])[0]}")
        return Returned(query["state"][0], query["code"][0], query.get("iss", [""])[0])

    def works(self, url: str, access_token: str) -> bool:
        """Whether an API accepts the token."""
        headers = {"Authorization": f"Bearer {access_token}"}
        return self._request("GET", url, headers=headers)[0] == 200

    def _request(
        self, method: str, url: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str, str]:
        parts = urlsplit(url)
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=_LIMIT_S, context=self._tls
        )
        try:
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body, sent)
            answer = connection.getresponse()
            text = answer.read(_BODY_MAX_BYTES).decode(errors="replace")
            return answer.status, answer.headers.get("Location", ""), text
        except OSError as error:
            raise EmbeddedError(f"the demo provider does not answer: {error}") from error
        finally:
            connection.close()
