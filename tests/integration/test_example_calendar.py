"""examples/calendar_service runs as its README says, against a service and the demo provider."""

from __future__ import annotations

import base64
import http.client
import re
import shlex
import ssl
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

import tokenvault_client as sdk
from tests.support.demo import Demo, running_demo
from tests.support.vault import RealVault
from vault_service.embedded import loopback
from vault_service.embedded.browser import Browser
from vault_service.embedded.child import Child
from vault_service.embedded.machine import port_is_free

_FOLDER = Path(__file__).parents[2] / "examples" / "calendar_service"
_LIFE_S = 12  # another token can be had once a tenth of it and a second have gone
_OLD_ENOUGH_S = 2.6
_READY_S = 20.0


@pytest.fixture(scope="module")
def demo(real_vault: RealVault) -> Iterator[Demo]:
    """A service with the demo provider."""
    with running_demo(real_vault, "example", access_life_s=_LIFE_S) as running:
        yield running


@pytest.fixture(scope="module")
def example(demo: Demo, real_vault: RealVault) -> Iterator[Child]:
    """The command of the README with this deployment's files and ports put in."""
    (command,) = re.findall(r"```sh\n(.*?)```", (_FOLDER / "README.md").read_text(), re.DOTALL)
    here = {
        "../.venv/bin/python": sys.executable,
        "../.tokenvault/clients/calendar-app.toml": str(demo.clients["calendar-app"]),
        "../.tokenvault/ca/root.pem": str(demo.provider.ca_file),
        "--oauth-client calendar": f"--oauth-client {demo.oauth_client.rpartition('/')[2]}",
        "127.0.0.1:CALLBACK_PORT": f"127.0.0.1:{demo.callback_port}",
        "127.0.0.1:PROVIDER_PORT": demo.provider.host_port,
    }
    for told, found in here.items():
        assert told in command
        command = command.replace(told, found)
    child = Child(
        "calendar_service",
        shlex.split(command.replace("\\\n", " ")),
        log_file=real_vault.directory / "calendar.log",
        cwd=_FOLDER.parent,
    )
    child.start()
    child.wait_ready(lambda: not port_is_free("127.0.0.1", demo.callback_port), _READY_S)
    yield child
    child.stop()


@dataclass
class Person:
    """A browser with its cookie."""

    demo: Demo
    cookie: str = ""

    def ask(self, method: str, path: str, form: dict[str, str] | None = None) -> Any:
        """(status, Location, page)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.demo.callback_port, timeout=30)
        headers = {"Cookie": self.cookie} if self.cookie else {}
        connection.request(method, path, urlencode(form or {}), headers)
        answer = connection.getresponse()
        page = answer.read().decode()
        if cookie := answer.headers.get("Set-Cookie"):
            assert "HttpOnly; SameSite=Lax" in cookie
            self.cookie = cookie.partition(";")[0]
        assert answer.headers["Cache-Control"] == "no-store"
        connection.close()
        return answer.status, answer.headers.get("Location", ""), page

    def sign_in(self, name: str) -> Person:
        """As the owner ``name``."""
        assert self.ask("POST", "/sign-in", {"name": name})[0] == 303
        return self

    def consent(self, user: str = "ada") -> str:
        """Begins a consent and says yes at the provider; the path that comes back here."""
        status, url, _ = self.ask("POST", "/connect")
        assert status == 303
        returned = Browser(self.demo.provider.ca_file).consent(url, user=user)
        query = {"state": returned.state, "code": returned.code, "iss": returned.iss}
        return f"/callback?{urlencode(query)}"

    def connect(self, user: str = "ada") -> None:
        """The whole consent."""
        status, location, page = self.ask("GET", self.consent(user))
        assert (status, location) == (303, "/calendar"), page


@pytest.fixture
def person(demo: Demo, example: Child) -> Person:
    """Nobody yet."""
    return Person(demo)


def current_token(demo: Demo, owner: str) -> sdk.AccessToken:
    """What the application would get now."""
    with demo.client("calendar-app") as app:
        return app.get_access_token(alias=sdk.grant_alias_name("demo", owner, "calendar"))


def refuse(demo: Demo, token: sdk.AccessToken) -> None:
    """The provider ends one access token before its time (RFC 7009)."""
    provider = demo.provider
    context = ssl.create_default_context(cafile=str(provider.ca_file))
    host, _, port = provider.host_port.partition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=10)
    basic = base64.b64encode(f"{provider.client_id}:{provider.client_secret}".encode()).decode()
    headers = {
        "Authorization": f"Basic {basic}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    connection.request("POST", "/revoke", urlencode({"token": token.value}), headers)
    assert connection.getresponse().status == 200
    connection.close()


def refreshes(demo: Demo) -> int:
    """How many POSTs with a refresh token the provider has had."""
    port = int(demo.provider.host_port.rpartition(":")[2])
    rows = loopback.request(port, demo.provider.ca_file, "/ledger").member("by_outcome")
    return sum(row["posts"] for row in rows if row["grant_type"] == "refresh_token")


def test_a_person_connects_and_sees_the_calendar(person: Person) -> None:
    """Signed in, consented, shown: the API's answer names who consented."""
    assert person.ask("GET", "/calendar")[0] == 401
    person.sign_in("alice")
    assert person.ask("GET", "/calendar")[0] == 409
    person.connect("grace")
    status, _, page = person.ask("GET", "/calendar")
    assert status == 200
    assert "grace" in page


def test_a_refused_token_is_replaced_once_for_all(person: Person) -> None:
    """The API answers 401: ten readers at once get the calendar, by one refresh."""
    person.sign_in("bob").connect()
    refused = current_token(person.demo, "bob")
    time.sleep(_OLD_ENOUGH_S)
    refuse(person.demo, refused)
    before = refreshes(person.demo)
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda _: person.ask("GET", "/calendar")[0], range(10)))
    assert found == [200] * 10
    assert refreshes(person.demo) == before + 1
    assert current_token(person.demo, "bob").fingerprint != refused.fingerprint


def test_a_refused_new_token_is_not_asked_for_again(person: Person) -> None:
    """Where a brand-new token is refused the person is asked to connect, without a refresh."""
    person.sign_in("carol").connect()
    refuse(person.demo, current_token(person.demo, "carol"))
    before = refreshes(person.demo)
    status, _, page = person.ask("GET", "/calendar")
    assert status == 409
    assert "connect it again" in page
    assert refreshes(person.demo) == before


def test_a_callback_of_somebody_else_is_refused(person: Person, demo: Demo) -> None:
    """A stolen callback connects nothing to the thief, and its own session may still use it."""
    person.sign_in("dave")
    callback = person.consent()
    thief = Person(demo).sign_in("mallory")
    assert thief.ask("GET", callback)[0] == 400
    thief.ask("POST", "/connect")
    assert thief.ask("GET", callback)[0] == 400
    assert thief.ask("GET", "/calendar")[0] == 409
    assert person.ask("GET", callback)[0] == 303
    assert person.ask("GET", "/calendar")[0] == 200


def test_the_owner_cannot_be_chosen(person: Person) -> None:
    """An owner in the query changes nothing: it is the session's."""
    person.sign_in("erin")
    callback = person.consent()
    assert person.ask("GET", f"{callback}&owner=alice")[0] == 303
    with person.demo.client("operator") as operator:
        owned = [each.name for each in operator.iter_grants("tenants/demo", owner="erin")]
    assert owned == [current_token(person.demo, "erin").grant]


def test_a_person_who_says_no_is_told(person: Person) -> None:
    """A denied consent ends as a page, and can be begun again."""
    person.sign_in("frank")
    callback = person.consent()
    state = re.findall(r"state=([^&]+)", callback)[0]
    issuer = urlencode({"iss": person.demo.provider.base_url})
    status, _, page = person.ask("GET", f"/callback?state={state}&error=access_denied&{issuer}")
    assert status == 409
    assert "did not connect" in page
    person.connect()


def test_a_revoked_grant_asks_for_a_new_consent(person: Person) -> None:
    """After the operator revoked it, the page offers to connect, and that works."""
    person.sign_in("heidi").connect("grace")
    with person.demo.client("operator") as operator:
        operator.revoke_grant(current_token(person.demo, "heidi").grant)
    status, _, page = person.ask("GET", "/calendar")
    assert status == 409
    assert "/connect" in page
    person.connect("grace")
    assert person.ask("GET", "/calendar")[0] == 200


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        ("/sign-in", {"name": "<script>"}, 400),
        ("/sign-in", {"name": "x" * 5_000}, 413),
        ("/sign-in", {}, 400),
        ("/connect", {}, 401),
        ("/other", {}, 401),
    ],
)
def test_odd_forms_are_refused(
    person: Person, path: str, form: dict[str, str], status: int
) -> None:
    """What no page of ours sends ends in a refusal."""
    assert person.ask("POST", path, form)[0] == status


def test_nothing_secret_is_logged_or_shown(person: Person, example: Child) -> None:
    """Neither the pages nor the output of the example hold a token, a code or a state."""
    person.sign_in("ivan")
    callback = person.consent()
    secrets = re.findall(r"(?:state|code)=([^&]+)", callback)
    pages = [person.ask("GET", path)[2] for path in (callback, "/calendar", "/")]
    secrets.append(current_token(person.demo, "ivan").value)
    shown = "".join([*pages, example.log_file.read_text()])
    assert len(secrets) == 3
    assert [secret for secret in secrets if secret in shown] == []
