"""The scripted authorization server over its sockets: endpoints, clients, control, ledger."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.support.authserver import (
    CLIENT_ID,
    CLIENT_SECRET,
    AuthServer,
    AuthServerClient,
    AuthServerProcess,
    Behaviour,
    Controls,
    Done,
    ErrorShape,
    Fault,
    Held,
    Killed,
    RefreshClass,
    RemoteAuthServer,
    Rewrite,
    Rule,
    Standing,
    Verdict,
    read_ledger,
)
from vault_service.embedded.devca import DevCA


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> DevCA:
    """Trusted by the clients here only."""
    return DevCA(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def ledger_file(tmp_path: Path) -> Path:
    """Where the ledger is kept beside memory."""
    return tmp_path / "ledger.jsonl"


@pytest.fixture(params=["thread", "process"])
def server(
    request: pytest.FixtureRequest, ca: DevCA, tmp_path: Path, ledger_file: Path
) -> Iterator[Controls]:
    """Either kind; what is tested here holds for both."""
    if request.param == "thread":
        with AuthServer(ca, ledger_file=ledger_file) as local:
            yield local
        return
    with AuthServerProcess(tmp_path, ca, ledger_file=ledger_file) as remote:
        yield remote


@pytest.fixture
def client(server: Controls, ca: DevCA) -> Iterator[AuthServerClient]:
    """One connection, kept."""
    with AuthServerClient(server.port, ca.root_file) as made:
        yield made


def test_refreshes_and_their_entries(
    server: Controls, client: AuthServerClient, ledger_file: Path
) -> None:
    """A refresh, and its repeat with the dead token, stand in the ledger with their generations,
    times and ends, in memory and on disk."""
    first = server.new_family(subject="ann")
    before = time.monotonic()
    answer = client.refresh(first.refresh_token)
    assert answer.status == 200
    given = answer.json()
    assert set(given) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert client.refresh(first.refresh_token).json() == {"error": "invalid_grant"}
    after = time.monotonic()

    issued, refused = server.sent("refresh_token")
    assert (issued.presented, issued.issued, issued.done) == (1, 2, Done.ISSUED)
    assert (refused.presented, refused.at_generation, refused.done) == (1, 2, Done.REFUSED)
    assert (issued.family, issued.refresh_class) == (first.family, RefreshClass.S)
    assert issued.gave_tokens
    assert refused.delivered
    assert not refused.gave_tokens
    assert not refused.in_doubt
    assert issued.sent_bytes > len(answer.body)
    assert issued.committed_s is not None
    assert issued.ended_s is not None
    assert before <= issued.arrived_s <= issued.committed_s <= issued.ended_s
    assert issued.ended_s <= refused.arrived_s <= after
    assert server.entries(since=1) == [refused]
    assert read_ledger(Path(ledger_file)) == [issued, refused]


def test_classes_side_by_side(server: Controls, client: AuthServerClient) -> None:
    """Realms have a class each; a family keeps it."""
    works = {}
    for name in RefreshClass:
        behaviour = Behaviour(refresh_class=name, grace_s=30)
        view = server.realm(name.lower(), behaviour)
        assert view.issuer == f"{server.issuer}/{name.lower()}"
        first = server.new_family(realm=name.lower())
        for _ in range(2):
            answer = client.refresh(first.refresh_token, path=f"/{name.lower()}/token")
        works[name] = (answer.status, server.families([first.family])[0].working)
    assert works == {
        RefreshClass.N: (200, (1,)),
        RefreshClass.M: (200, (1, 2, 3)),
        RefreshClass.G: (200, (1, 2, 3)),
        RefreshClass.S: (400, (2,)),
    }


def test_code_revoke_introspect_resource(server: Controls, client: AuthServerClient) -> None:
    """A code gives tokens that the resource and the introspection know, until they are revoked."""
    answer = client.post(
        "/token", {"grant_type": "authorization_code", "code": "ann.1", "redirect_uri": "https://x"}
    )
    given = answer.json()
    assert given["user"] == "ann"
    access, refresh = given["access_token"], given["refresh_token"]
    assert client.resource(access).status == 200
    assert client.post("/introspect", {"token": refresh}).json() == {"active": True}
    assert client.post("/revoke", {"token": refresh}).status == 200
    assert client.post("/introspect", {"token": refresh}).json() == {"active": False}
    assert client.resource(access).status == 401
    assert server.standing(refresh) is Standing.FAMILY_KILLED
    (family,) = server.families(subject="ann")
    assert family.killed is Killed.CLIENT
    kinds = [entry.kind for entry in server.posts]
    assert kinds == ["authorization_code", "introspect", "revoke", "introspect"]


def test_introspection_may_be_missing(server: Controls, client: AuthServerClient) -> None:
    """A server without RFC 7662 has no such page."""
    server.configure(introspects=False)
    first = server.new_family()
    assert client.post("/introspect", {"token": first.refresh_token}).status == 404


def test_old_access_token_tells_of_the_refresh(server: Controls, client: AuthServerClient) -> None:
    """Where a refresh kills the old access token, the resource shows whether it happened."""
    server.configure(kills_old_access_token=True)
    first = server.new_family()
    assert client.resource(first.access_token).status == 200
    second = client.refresh(first.refresh_token).json()
    assert client.resource(first.access_token).status == 401
    assert client.resource(second["access_token"]).status == 200
    assert server.access_works(second["access_token"])
    assert server.generation_of(second["access_token"]) == (first.family, 2)


def test_ways_to_authenticate(server: Controls, client: AuthServerClient) -> None:
    """Basic and post, form and JSON; a wrong secret, a wrong way and a stranger are refused."""
    server.configure(refresh_class="N")
    token = server.new_family().refresh_token
    fields = {"grant_type": "refresh_token", "refresh_token": token}
    post = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    assert client.post("/token", {**fields, **post}, login=None).status == 200
    assert client.post_json("/token", {**fields, **post}).status == 200
    assert client.post("/token", fields).status == 200
    wrong = client.post("/token", fields, login=(CLIENT_ID, "wrong"))
    assert (wrong.status, wrong.json()) == (401, {"error": "invalid_client"})
    assert client.post("/token", fields, login=("other", "secret: ü")).status == 401
    server.add_client("other", "secret: ü")
    assert client.post("/token", fields, login=("other", "secret: ü")).status == 200
    server.configure(client_auth="post")
    assert client.post("/token", fields).status == 401
    server.configure(client_auth="any", refuses_clients=True)
    assert client.post("/token", fields).status == 401
    assert server.posts[-1].done is Done.UNAUTHENTICATED
    assert server.families()[0].generation == 5, "nothing was committed for a stranger"


@pytest.mark.parametrize(
    ("shape", "status", "body"),
    [
        (ErrorShape.OAUTH, 400, {"error": "invalid_grant"}),
        (ErrorShape.GITHUB, 200, {"error": "bad_refresh_token"}),
        (ErrorShape.SLACK, 200, {"ok": False, "error": "invalid_refresh_token"}),
    ],
)
def test_shapes_of_errors(
    server: Controls,
    client: AuthServerClient,
    shape: ErrorShape,
    status: int,
    body: dict[str, object],
) -> None:
    """A dead grant is told as the provider tells it, in a 200 where that is its way."""
    server.configure(error_shape=shape)
    token = server.new_family().refresh_token
    good = client.refresh(token)
    assert good.json().get("ok") == (True if shape is ErrorShape.SLACK else None)
    bad = client.refresh(token)
    assert (bad.status, bad.json()) == (status, body)
    assert server.posts[-1].done is Done.REFUSED


def test_omitted_members_and_scopes(server: Controls, client: AuthServerClient) -> None:
    """Members are left out as configured, and a scope may change at a refresh."""
    server.configure(omits=["expires_in", "token_type"], scope="a b", scope_on_refresh="a")
    given = client.refresh(server.new_family().refresh_token).json()
    assert set(given) == {"access_token", "refresh_token", "scope"}
    assert given["scope"] == "a"
    server.configure(omits=["refresh_token", "scope"])
    given = client.refresh(server.new_family().refresh_token).json()
    assert set(given) == {"access_token", "token_type", "expires_in"}


def test_rate_limit(server: Controls, client: AuthServerClient) -> None:
    """Beyond its burst the server answers 429 with a Retry-After that is true, in both forms."""
    server.configure(refresh_class="N", rate_per_s=0.5, rate_burst=2)
    token = server.new_family().refresh_token
    assert [client.refresh(token).status for _ in range(2)] == [200, 200]
    limited = client.refresh(token)
    assert (limited.status, limited.headers["retry-after"]) == (429, "2")
    server.configure(retry_after_date=True)
    date = parsedate_to_datetime(client.refresh(token).headers["retry-after"])
    assert 0 < (date - datetime.now(UTC)).total_seconds() <= 4
    assert [entry.done for entry in server.posts[2:]] == [Done.RATE_LIMITED] * 2
    server.advance(2)
    assert client.refresh(token).status == 200


def test_time_may_pass(server: Controls, client: AuthServerClient) -> None:
    """advance ends a grace without waiting."""
    server.configure(refresh_class="G", grace_s=1_800)
    token = server.new_family().refresh_token
    assert [client.refresh(token).status for _ in range(2)] == [200, 200]
    server.advance(1_800)
    assert client.refresh(token).status == 400


def test_owner_ends_a_grant(server: Controls, client: AuthServerClient) -> None:
    """kill is the owner at the provider."""
    first = server.new_family()
    server.kill(first.family)
    assert client.refresh(first.refresh_token).status == 400
    held = Held(family=first.family, refresh_token=first.refresh_token)
    assert [finding.verdict for finding in server.judge([held])] == [Verdict.OK]


def test_unknown_pages(server: Controls, client: AuthServerClient) -> None:
    """What is none of its endpoints is 404, in a realm that is none too."""
    assert client.post("/tokens", {}).status == 404
    assert client.post("/none/token", {}).status == 404
    assert server.posts == []


def test_control_from_another_process(ca: DevCA, tmp_path: Path) -> None:
    """A second handle of the same process scripts it and reads its ledger; it is refused by
    name what does not exist."""
    process = AuthServerProcess(tmp_path, ca)
    with process as one:
        two = RemoteAuthServer(process.port_file)
        first = one.new_family()
        two.add_rules(Rule(fault=Fault(delay_before_s=0), family=first.family))
        with AuthServerClient(one.port, ca.root_file) as client:
            client.refresh(first.refresh_token)
        assert [entry.family for entry in two.sent("refresh_token")] == [first.family]
        with pytest.raises(ValueError, match="nothing"):
            two.operate("nothing")
        two.close()


def test_many_clients_at_once(ca: DevCA) -> None:
    """Each generation of a strict family is given once, whoever asks how often at once."""
    with AuthServer(ca) as server:
        first = server.new_family()
        statuses: list[int] = []

        def ask() -> None:
            with AuthServerClient(server.port, ca.root_file) as client:
                statuses.append(client.refresh(first.refresh_token).status)

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200] + [400] * 15
        assert [entry.sequence for entry in server.posts] == list(range(1, 17))


def test_basic_credentials_are_form_encoded(ca: DevCA) -> None:
    """RFC 6749 §2.3.1: the parts of Basic are form-encoded; as they are, they are wrong."""
    with AuthServer(ca) as server, AuthServerClient(server.port, ca.root_file) as client:
        server.add_client("a:b", "100%25")
        fields = {"grant_type": "refresh_token", "refresh_token": server.new_family().refresh_token}
        plain = base64.b64encode(b"a:b:100%25").decode()
        headers = {"Authorization": f"Basic {plain}"}
        assert client.post("/token", fields, login=None, headers=headers).status == 401
        assert client.post("/token", fields, login=("a:b", "100%25")).status == 200


def test_gzip_is_real(ca: DevCA) -> None:
    """A gzip answer opens to the tokens; it counts as given only to a client that asked for it."""
    with AuthServer(ca) as server, AuthServerClient(server.port, ca.root_file) as client:
        first = server.new_family()
        server.script(Fault(rewrite=Rewrite.GZIP), Fault(rewrite=Rewrite.GZIP))
        answer = client.refresh(first.refresh_token)
        given = json.loads(gzip.decompress(answer.body))
        assert answer.headers["content-encoding"] == "gzip"
        client.refresh(given["refresh_token"], headers={"Accept-Encoding": "gzip"})
        assert [entry.carried for entry in server.posts] == [False, True]
