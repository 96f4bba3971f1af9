"""A client of the demo provider, over its wire."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from vault_service.embedded.demo import EmbeddedDemoProvider
from vault_service.embedded.devca import DevCA

VERIFIER = "verifier-" * 5
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> dict[str, Any]:
        found = json.loads(self.text)
        assert isinstance(found, dict)
        return found

    @property
    def back(self) -> dict[str, str]:
        """The parameters of the redirect to the client."""
        assert self.status == 303, self.text
        return {
            name: values[0]
            for name, values in parse_qs(urlsplit(self.headers["Location"]).query).items()
        }


class Wire:
    """A client of the demo provider, registered there."""

    def __init__(self, server: EmbeddedDemoProvider, folder: Path, ca: DevCA) -> None:
        self.server = server
        self.folder = folder
        self.tls = ssl.create_default_context(cafile=ca.root_file)
        self.handle = server.start()

    def send(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        parts = urlsplit(self.handle.base_url)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", parts.port, timeout=10, context=self.tls
        )
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read().decode())
        finally:
            connection.close()

    def asked(self, **changes: str) -> dict[str, str]:
        """The parameters of a good authorization request, with changes; "" leaves one out."""
        parameters = {
            "response_type": "code",
            "client_id": self.handle.client_id,
            "redirect_uri": self.handle.redirect_uri,
            "scope": "openid calendar.read",
            "state": "the state",
            "nonce": "the nonce",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return {name: value for name, value in (parameters | changes).items() if value}

    def decide(self, user: str = "ada", **changes: str) -> Reply:
        body = urlencode(self.asked(**changes) | {"user": user})
        return self.send("POST", "/authorize", body, FORM)

    def token(self, **form: str) -> Reply:
        secret = {
            "client_id": self.handle.client_id,
            "client_secret": self.handle.client_secret,
        }
        return self.send("POST", "/token", urlencode(secret | form), FORM)

    def redeem(self, code: str, /, **changes: str) -> Reply:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.handle.redirect_uri,
            "code_verifier": VERIFIER,
        }
        return self.token(**(form | changes))

    def refresh(self, refresh_token: str) -> Reply:
        return self.token(grant_type="refresh_token", refresh_token=refresh_token)

    def consent(self, user: str = "ada") -> dict[str, Any]:
        """The token answer of a new consent."""
        answer = self.redeem(self.decide(user).back["code"])
        assert answer.status == 200, answer.text
        return answer.json

    def whoami(self, access_token: str) -> Reply:
        return self.send("GET", "/api/whoami", headers={"Authorization": f"Bearer {access_token}"})
