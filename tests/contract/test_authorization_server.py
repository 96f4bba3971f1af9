"""What a strict authorization server does, of the scripted one and of npm's certified one."""

from __future__ import annotations

import base64
import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support import oidc
from tests.support.authserver import CLIENT_ID, CLIENT_SECRET, AuthServer, AuthServerClient
from tests.support.authserver.client import Came, refresh_fields
from vault_service.embedded.devca import DevCA

_VERIFIER = "v" * 43  # RFC 7636 §4.1: the shortest
_users = (f"user-{number}" for number in itertools.count(1))


class Server(ABC):
    """One of them, with our registration."""

    revocation_path: str

    def __init__(self, client: AuthServerClient, login: tuple[str, str]) -> None:
        self.client = client
        self.login = login

    @abstractmethod
    def code(self) -> dict[str, str]:
        """A new user's consent: the fields that redeem its code."""

    def token(self, fields: dict[str, str], login: tuple[str, str] | None = None) -> Came:
        """A POST to the token endpoint."""
        return self.client.post("/token", fields, login=login or self.login)

    def consent(self) -> dict[str, Any]:
        """The tokens of a new user."""
        answer = self.token(self.code())
        assert answer.status == 200, answer
        return answer.json()

    def refresh(self, refresh_token: str) -> Came:
        """A refresh."""
        return self.token(refresh_fields(refresh_token))

    def revoke(self, token: str) -> Came:
        """RFC 7009."""
        return self.client.post(self.revocation_path, {"token": token}, login=self.login)


class Scripted(Server):
    """Ours, of class S with family killing."""

    revocation_path = "/revoke"

    def code(self) -> dict[str, str]:
        """Any text is one."""
        return {"grant_type": "authorization_code", "code": f"{next(_users)}.1"}


class Certified(Server):
    """npm's oidc-provider."""

    revocation_path = "/token/revocation"

    def __init__(self, client: AuthServerClient, provider: oidc.OidcProvider) -> None:
        super().__init__(client, (oidc.CLIENT_ID, oidc.CLIENT_SECRET))
        self._provider = provider

    def code(self) -> dict[str, str]:
        """By its pages."""
        digest = hashlib.sha256(_VERIFIER.encode()).digest()
        asked = {
            "client_id": oidc.CLIENT_ID,
            "redirect_uri": oidc.REDIRECT_URI,
            "response_type": "code",
            "scope": "openid offline_access calendar",
            "prompt": "consent",
            "state": "s",
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        url = f"{self._provider.issuer}/auth?{urlencode(asked)}"
        return {
            "grant_type": "authorization_code",
            "code": self._provider.consent(url, next(_users)).code,
            "redirect_uri": oidc.REDIRECT_URI,
            "code_verifier": _VERIFIER,
        }


@pytest.fixture(scope="module", params=["scripted", "certified"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Either."""
    directory = tmp_path_factory.mktemp("authorization-server")
    ca = DevCA(directory)
    if request.param == "scripted":
        with AuthServer(ca) as made:
            made.configure(family_kill_on_reuse=True)
            with AuthServerClient(made.port, ca.root_file) as client:
                yield Scripted(client, (CLIENT_ID, CLIENT_SECRET))
        return
    provider = oidc.OidcProvider(directory, ca).start()
    try:
        with AuthServerClient(provider.port, ca.root_file) as client:
            yield Certified(client, provider)
    finally:
        provider.stop()


def refused(answer: Came) -> tuple[int, str]:
    """Status and error code."""
    return answer.status, answer.json()["error"]


def test_code_gives_tokens(server: Server) -> None:
    """RFC 6749 §5.1: a code is answered with tokens, never to be cached."""
    answer = server.token(server.code())
    given = answer.json()
    assert (answer.status, given["token_type"]) == (200, "Bearer")
    assert isinstance(given["expires_in"], int)
    assert given["access_token"] != given["refresh_token"]
    assert answer.headers["cache-control"] == "no-store"


def test_code_works_once(server: Server) -> None:
    """RFC 6749 §4.1.2: the second use is refused, and what the first gave is dead."""
    code = server.code()
    given = server.token(code).json()
    assert refused(server.token(code)) == (400, "invalid_grant")
    assert refused(server.refresh(given["refresh_token"])) == (400, "invalid_grant")


def test_refresh_reissues(server: Server) -> None:
    """Each refresh gives a new pair, and the newest goes on."""
    seen = [server.consent()]
    for _ in range(3):
        answer = server.refresh(seen[-1]["refresh_token"])
        assert answer.status == 200
        seen.append(answer.json())
    for name in ("access_token", "refresh_token"):
        assert len({given[name] for given in seen}) == 4


def test_reuse_kills_the_family(server: Server) -> None:
    """RFC 9700 §4.14.2: a refresh token that was used is refused, and the newest dies for it."""
    first = server.consent()
    second = server.refresh(first["refresh_token"]).json()
    assert refused(server.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert refused(server.refresh(second["refresh_token"])) == (400, "invalid_grant")


def test_wrong_client_changes_nothing(server: Server) -> None:
    """RFC 6749 §5.2: invalid_client is a 401, and the grant is as before."""
    first = server.consent()
    fields = refresh_fields(first["refresh_token"])
    assert refused(server.token(fields, (server.login[0], "wrong"))) == (401, "invalid_client")
    assert server.refresh(first["refresh_token"]).status == 200


def test_revocation_ends_the_family(server: Server) -> None:
    """RFC 7009 §2: after the revocation of a refresh token it is refused; an unknown one is 200."""
    first = server.consent()
    assert server.revoke(first["refresh_token"]).status == 200
    assert refused(server.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert server.revoke("never issued").status == 200


def test_what_is_unknown_is_refused(server: Server) -> None:
    """An unknown refresh token is invalid_grant, another grant type unsupported."""
    assert refused(server.refresh("never issued")) == (400, "invalid_grant")
    other = {"grant_type": "other"}
    assert refused(server.token(other)) == (400, "unsupported_grant_type")
