"""The certified authorization server of npm, and a person's browser that consents there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote_plus, urljoin, urlsplit

import requests

from tests.node.which import node_path
from vault_service.embedded.child import Child
from vault_service.embedded.devca import DevCA
from vault_service.embedded.machine import choose_port

_START_S = 30.0
_HOPS_MAX = 12
_SCRIPT = Path(__file__).parents[1] / "node" / "oidc_provider.mjs"
CLIENT_ID = "tokenvault-test"
CLIENT_SECRET = "client secret: with+special/characters&="  # of a test server
REDIRECT_URI = "https://app.example/callback"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One POST, as the server counted it."""

    path: str
    grant_type: str
    status: int
    error: str


@dataclass(frozen=True, slots=True)
class Returned:
    """What the browser brought to the application."""

    state: str
    code: str
    iss: str


class OidcProvider:
    """``oidc-provider`` over https under the development CA."""

    def __init__(self, directory: Path, ca: DevCA, *, access_life_s: int = 600) -> None:
        self._directory = directory
        self._ca = ca
        self._access_life_s = access_life_s
        self._ledger = directory / "ledger.jsonl"
        self.port = choose_port()
        self.host_port = f"127.0.0.1:{self.port}"
        self.issuer = f"https://{self.host_port}"
        self._child = self._new_child()

    def start(self) -> OidcProvider:
        """Start it; its state is in memory."""
        self._child.start()
        log = self._child.log_file
        self._child.wait_ready(lambda: "ready" in log.read_text(), _START_S)
        return self

    def stop(self) -> None:
        """End it."""
        self._child.stop()

    def pause(self) -> None:
        """It accepts connections and says nothing."""
        self._child.pause()

    def resume(self) -> None:
        """It goes on."""
        self._child.resume()

    def ledger(self, grant_type: str = "") -> list[LedgerEntry]:
        """The POSTs so far, of one grant type where given."""
        if not self._ledger.exists():
            return []
        entries = [
            LedgerEntry(**json.loads(line)) for line in self._ledger.read_text().splitlines()
        ]
        return [entry for entry in entries if grant_type in ("", entry.grant_type)]

    def refresh_tokens(self, user: str) -> list[str]:
        """All refresh tokens that the user was ever given, oldest first."""
        return self._for_tests("refresh-tokens", user)

    def forget_consents(self, user: str) -> None:
        """End the user's consents here, as the user would on the provider's page."""
        assert self._for_tests("forget", user), "the user has given none"

    def refresh(self, refresh_token: str) -> int:
        """Redeem a refresh token directly, as somebody who stole it; returns the status."""
        fields = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        login = (quote_plus(CLIENT_ID), quote_plus(CLIENT_SECRET))
        with self._browser() as browser:
            return browser.post(f"{self.issuer}/token", fields, auth=login, timeout=10).status_code

    def _for_tests(self, what: str, user: str) -> list[str]:
        with self._browser() as browser:
            url = f"{self.issuer}/test/{what}"
            found: list[str] = browser.get(url, params={"user": user}, timeout=10).json()
            return found

    def _browser(self) -> requests.Session:
        browser = requests.Session()
        browser.trust_env = False
        browser.verify = str(self._ca.root_file)
        return browser

    def consent(self, url: str, user: str) -> Returned:
        """Log in as ``user`` and consent, as the server's own pages ask."""
        with self._browser() as browser:
            answer = browser.get(url, allow_redirects=False, timeout=10)
            for _ in range(_HOPS_MAX):
                if answer.is_redirect:
                    target = urljoin(answer.url, answer.headers["Location"])
                    if target.startswith(REDIRECT_URI):
                        return _returned(target)
                    answer = browser.get(target, allow_redirects=False, timeout=10)
                    continue
                assert answer.status_code == 200, f"{answer.status_code} at {answer.url}"
                fields = {"prompt": _prompt(answer.text), "login": user, "password": "any"}
                answer = browser.post(answer.url, fields, allow_redirects=False, timeout=10)
        raise AssertionError("the consent did not end")

    def _new_child(self) -> Child:
        issued = self._ca.issue(
            f"oidc-{self.port}", spiffe_id=None, ips=("127.0.0.1",), server=True, client=False
        )
        settings = self._directory / "oidc.json"
        settings.write_text(
            json.dumps(
                {
                    "port": self.port,
                    "certificate": str(issued.certificate_file),
                    "key": str(issued.key_file),
                    "ledger": str(self._ledger),
                    "clientId": CLIENT_ID,
                    "clientSecret": CLIENT_SECRET,
                    "redirectUri": REDIRECT_URI,
                    "accessLifeS": self._access_life_s,
                }
            )
        )
        argv = [str(node_path()), str(_SCRIPT), str(settings)]
        return Child("oidc-provider", argv, log_file=self._directory / "oidc.log")


def _prompt(page: str) -> str:
    found = re.search(r'name="prompt" value="(\w+)"', page)
    assert found, "the page asks for nothing we know"
    return found.group(1)


def _returned(target: str) -> Returned:
    query = parse_qs(urlsplit(target).query)
    return Returned(query["state"][0], query["code"][0], query.get("iss", [""])[0])
