"""Each fault of the scripted authorization server, as a client meets it and the ledger has it."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from urllib.parse import urlencode

import pytest

from tests.support.authserver import (
    Answer,
    AuthServer,
    AuthServerClient,
    Cut,
    Done,
    Ending,
    Entry,
    Fault,
    Held,
    Issued,
    Rewrite,
    Rule,
    Verdict,
)
from tests.support.authserver.client import refresh_fields
from tests.support.authserver.endings import framed
from vault_service.embedded.devca import DevCA

_WAIT_S = 5.0
_POLL_S = 0.005


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> DevCA:
    """Trusted by the clients here only."""
    return DevCA(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def server(ca: DevCA) -> Iterator[AuthServer]:
    """Of class S."""
    with AuthServer(ca) as made:
        yield made


@pytest.fixture
def client(server: AuthServer, ca: DevCA) -> Iterator[AuthServerClient]:
    """One connection, kept."""
    with AuthServerClient(server.port, ca.root_file) as made:
        yield made


@pytest.fixture
def first(server: AuthServer) -> Issued:
    """A grant."""
    return server.new_family()


def verdict(server: AuthServer, first: Issued) -> Verdict:
    """Of a vault that still holds the first refresh token."""
    held = Held(family=first.family, refresh_token=first.refresh_token)
    return server.judge([held])[0].verdict


_CUTS = {
    Cut.BEFORE_COMMIT: (0, Done.CUT, Verdict.OK),
    Cut.AFTER_COMMIT: (0, Done.ISSUED, Verdict.LOST_IN_WINDOW),
    Cut.AFTER_HEADERS: (1, Done.ISSUED, Verdict.LOST_IN_WINDOW),
    Cut.MID_BODY: (2, Done.ISSUED, Verdict.LOST_IN_WINDOW),
}


@pytest.mark.parametrize("by_close", [False, True], ids=["reset", "close"])
@pytest.mark.parametrize("cut", Cut)
def test_cut(
    server: AuthServer, client: AuthServerClient, first: Issued, cut: Cut, by_close: bool
) -> None:
    """The connection ends where it shall and how it shall; what was committed is decided by that,
    and nothing counts as delivered."""
    parts, done, expected = _CUTS[cut]
    server.script(Fault(cut=cut, cut_by_close=by_close))
    came, end = client.bytes_of_refresh(first.refresh_token)
    assert end == ("close" if by_close else "reset")
    head, blank, body = came.partition(b"\r\n\r\n")
    assert (bool(blank) + bool(body)) == parts
    if body:
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert len(body) == length // 2
    (entry,) = server.posts
    assert (entry.done, entry.delivered, entry.in_doubt) == (done, False, True)
    assert entry.sent_bytes == len(came)
    assert entry.ended_s is not None
    assert (entry.committed_s is None) == (cut is Cut.BEFORE_COMMIT)
    assert verdict(server, first) is expected
    assert client.refresh(first.refresh_token).status == (200 if expected is Verdict.OK else 400)


@pytest.mark.parametrize("before_s", [0.2, 0])
def test_delays(
    server: AuthServer, client: AuthServerClient, first: Issued, before_s: float
) -> None:
    """A delay lies before the commit or after it."""
    server.script(Fault(delay_before_s=before_s, delay_after_s=0.2 - before_s))
    assert client.refresh(first.refresh_token).status == 200
    (entry,) = server.posts
    assert entry.committed_s is not None
    assert entry.ended_s is not None
    before, after = entry.committed_s - entry.arrived_s, entry.ended_s - entry.committed_s
    longer, shorter = (before, after) if before_s else (after, before)
    assert longer >= 0.2
    assert shorter < 0.2


_MORE = {
    Ending.NO_LAST_CHUNK: (b"transfer-encoding: chunked", True),
    Ending.LENGTH_TOO_LARGE: (b"content-length: ", True),
    Ending.NO_LENGTH: (b"connection: close", True),
    Ending.GZIP: (b"content-encoding: gzip", False),
    Ending.DEFLATE: (b"content-encoding: deflate", False),
    Ending.MISLABELLED: (b"content-encoding: utf-8", False),
    Ending.LATIN_1: (b"charset=iso-8859-1", False),
    Ending.FORM: (b"application/x-www-form-urlencoded", False),
    Ending.ODD_HEADERS: (b"a line without a colon", False),
}


def test_endings(server: AuthServer, client: AuthServerClient, first: Issued) -> None:
    """Each odd form is what its name says, has all of the tokens, and is delivered; only where the
    length of the body cannot be known from it is the connection closed."""
    token = first.refresh_token
    for ending in Ending:
        answer = Answer.json({"access_token": "new-token"})
        data, closes = framed(answer, ending)
        head, _, body = data.partition(b"\r\n\r\n")
        said, must_close = _MORE.get(ending, (b"content-type: application/json", False))
        assert said in head.lower(), ending
        assert closes is must_close, ending
        if ending is Ending.GZIP:
            body = gzip.decompress(body)
        elif ending is Ending.DEFLATE:
            body = zlib.decompress(body)
        assert b"new-token" in body, ending
        assert framed(Answer.json({"error": "invalid_grant"}, 400), ending)[1] is False
    server.script(Fault(ending=Ending.NO_LAST_CHUNK))
    came, end = client.bytes_of_refresh(token)
    assert (end, came[-2:]) == ("close", b"\r\n")
    (entry,) = server.posts
    assert (entry.done, entry.delivered, entry.gave_tokens) == (Done.ISSUED, True, True)
    assert entry.sent_bytes == len(came)


def test_drip(server: AuthServer, client: AuthServerClient, first: Issued) -> None:
    """The answer comes in small pieces, and whole in the end."""
    server.script(Fault(drip_bytes=16, drip_s=0.01))
    began = time.monotonic()
    answer = client.refresh(first.refresh_token)
    assert set(answer.json()) >= {"access_token", "refresh_token"}
    (entry,) = server.posts
    assert entry.delivered
    assert time.monotonic() - began >= 0.01 * (entry.sent_bytes // 16)


def test_client_that_leaves_a_drip(server: AuthServer, ca: DevCA, first: Issued) -> None:
    """Who leaves in the middle of an answer was not delivered it."""
    server.script(Fault(drip_bytes=1, drip_s=0.02))
    connection = _begun(server, ca, first)
    assert connection.recv(1)
    connection.close()
    (entry,) = _ended(server, 1)
    assert (entry.done, entry.delivered) == (Done.ISSUED, False)
    assert 0 < entry.sent_bytes < 200
    assert verdict(server, first) is Verdict.LOST_IN_WINDOW


def test_client_that_leaves_before_the_commit(server: AuthServer, ca: DevCA, first: Issued) -> None:
    """What has arrived is committed although its client is gone, and is not delivered."""
    with server.held() as gate:
        connection = _begun(server, ca, first)
        _arrived(server, 1)
        connection.close()
        time.sleep(0.05)
        assert server.posts[0].done is Done.PENDING
        gate.set()
    (entry,) = _ended(server, 1)
    assert (entry.done, entry.delivered) == (Done.ISSUED, False)
    assert verdict(server, first) is Verdict.LOST_IN_WINDOW


def test_held_answers_when_set(server: AuthServer, client: AuthServerClient, first: Issued) -> None:
    """A held request is in the ledger, undecided, until its gate is set."""
    with server.held() as gate:
        asking = threading.Thread(target=client.refresh, args=(first.refresh_token,))
        asking.start()
        _arrived(server, 1)
        assert server.posts[0].done is Done.PENDING
        gate.set()
        asking.join()
    assert server.posts[0].gave_tokens


_REWRITES: dict[Rewrite, Callable[[bytes], bool]] = {
    Rewrite.HTML: lambda body: body.startswith(b"<!doctype html>"),
    Rewrite.EMPTY: lambda body: body == b"",
    Rewrite.OVERSIZED: lambda body: len(body) > 65_536 and "refresh_token" in json.loads(body),
    Rewrite.GZIP: lambda body: body.startswith(b"\x1f\x8b"),
    Rewrite.DUPLICATE_KEYS: lambda body: body.count(b'"access_token"') == 2,
    Rewrite.NAN: lambda body: b'"expires_in": NaN' in body,
}


@pytest.mark.parametrize("how", Rewrite)
def test_rewrite(server: AuthServer, client: AuthServerClient, first: Issued, how: Rewrite) -> None:
    """A committed answer comes spoilt: delivered, but it carried nothing."""
    server.script(Fault(rewrite=how))
    answer = client.refresh(first.refresh_token)
    assert answer.status == 200
    assert _REWRITES[how](answer.body)
    (entry,) = server.posts
    assert (entry.done, entry.delivered, entry.gave_tokens) == (Done.ISSUED, True, False)
    assert verdict(server, first) is Verdict.LOST_IN_WINDOW


_ANSWERS = {
    "GitHub": Answer.json({"error": "bad_refresh_token"}),
    "Slack": Answer.json({"ok": False, "error": "invalid_refresh_token"}),
    "HTML": Answer.html(),
    "502": Answer.html(502),
    "429": Answer.json({"error": "slow_down"}, 429, Retry_After="7"),
    "503": Answer.json({}, 503, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"),
    "empty": Answer(),
    "oversized": Answer.oversized(),
    "redirect": Answer(status=307, headers={"Location": "https://127.0.0.1/"}),
}


@pytest.mark.parametrize("answer", _ANSWERS.values(), ids=_ANSWERS.keys())
def test_scripted_answer_commits_nothing(
    server: AuthServer, client: AuthServerClient, first: Issued, answer: Answer
) -> None:
    """A test's answer comes as written, once, and the grant is as before."""
    server.script(answer)
    came = client.refresh(first.refresh_token)
    assert (came.status, came.body) == (answer.status, answer.body)
    for name, value in answer.headers.items():
        assert came.headers[name.lower()] == value
    (entry,) = server.posts
    assert (entry.done, entry.issued, entry.delivered) == (Done.SCRIPTED, 0, True)
    assert entry.retry_after == answer.headers.get("Retry-After", "")
    assert client.refresh(first.refresh_token).status == 200


def test_scripted_answer_after_a_commit(
    server: AuthServer, client: AuthServerClient, first: Issued
) -> None:
    """A gateway's 502 in place of a committed answer costs a strict grant."""
    server.script(Fault(answer=Answer.html(502), commits=True, headers={"Via": "gateway"}))
    came = client.refresh(first.refresh_token)
    assert (came.status, came.headers["via"]) == (502, "gateway")
    (entry,) = server.posts
    assert (entry.done, entry.issued, entry.in_doubt) == (Done.ISSUED, 2, True)
    assert verdict(server, first) is Verdict.LOST_IN_WINDOW


def test_rules_choose_their_requests(
    server: AuthServer, client: AuthServerClient, first: Issued
) -> None:
    """By family, by generation, by count, by kind, for a time; the first that fits is taken."""
    other = server.new_family()
    server.configure(refresh_class="N")
    steady = server.new_family()
    server.add_rules(
        Rule(fault=Fault(answer=Answer(status=401)), family=other.family, generation=1),
        Rule(fault=Fault(answer=Answer(status=402)), kind="revoke"),
        Rule(fault=Fault(answer=Answer(status=403)), family=steady.family, skip=1, times=2),
        Rule(fault=Fault(answer=Answer(status=404)), family=first.family, for_s=0.0),
        Rule(fault=Fault(answer=Answer(status=405)), family=steady.family, label="last"),
    )
    assert client.refresh(first.refresh_token).status == 200, "its time was over"
    assert client.refresh(other.refresh_token).status == 401
    assert client.refresh(other.refresh_token).status == 200
    statuses = [client.refresh(steady.refresh_token).status for _ in range(4)]
    assert statuses == [405, 403, 403, 200]
    assert client.post("/revoke", {"token": steady.refresh_token}).status == 402


def test_chances_are_drawn_from_the_seed(ca: DevCA) -> None:
    """A share of the requests is met, the same ones for the same seed."""
    met = []
    for seed in (7, 7, 8):
        with AuthServer(ca, seed=seed) as server:
            server.configure(refresh_class="N")
            token = server.new_family().refresh_token
            server.add_rules(Rule(fault=Fault(answer=Answer(status=500)), times=None, chance=0.3))
            with AuthServerClient(server.port, ca.root_file) as client:
                met.append([client.refresh(token).status == 500 for _ in range(60)])
    assert 5 <= sum(met[0]) <= 35
    assert met[0] == met[1]
    assert met[0] != met[2]


@pytest.mark.parametrize("how", ["reset", "close", "503", "hang", "refuse"])
def test_outage(
    server: AuthServer, ca: DevCA, client: AuthServerClient, first: Issued, how: str
) -> None:
    """While it lasts nobody gets a token, nothing is committed; afterwards all is as before."""
    client.resource("any")  # a connection that is open when the outage begins
    with server.outage(how):
        if how == "hang":
            connection = _begun(server, ca, first)
            connection.settimeout(0.1)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        elif how == "503":
            assert client.refresh(first.refresh_token).status == 503
        else:
            with pytest.raises(OSError):  # noqa: PT011 - of ssl where it writes, of the socket else
                client.refresh(first.refresh_token)
        if how == "refuse":
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port), timeout=1)
    if how == "hang":
        with contextlib.closing(connection), contextlib.suppress(ConnectionResetError):
            connection.settimeout(_WAIT_S)
            assert connection.recv(1) == b""
    assert server.families()[0].generation == 1
    with AuthServerClient(server.port, ca.root_file) as again:
        assert again.refresh(first.refresh_token).status == 200


def test_one_connection_goes_on(server: AuthServer, ca: DevCA, first: Issued) -> None:
    """Requests of one connection are answered one after another, pipelined ones too."""
    server.configure(refresh_class="N")
    token = server.new_family().refresh_token
    server.script(Fault(delay_before_s=0.1))
    with contextlib.closing(_connected(server, ca)) as connection:
        connection.sendall(_request(token) + _request(token))
        came = b""
        while came.count(b"HTTP/1.1 200") < 2:
            came += connection.recv(65_536)
    entries = _ended(server, 2)
    assert [entry.connection for entry in entries] == [entries[0].connection] * 2
    for earlier, later in pairwise(entries):
        assert earlier.ended_s is not None
        assert later.arrived_s >= earlier.ended_s


def test_malformed_request_is_turned_away(server: AuthServer, ca: DevCA) -> None:
    """What is no HTTP of ours gets a 400 and the end of the connection."""
    for said in (b"hello\r\n\r\n", b"POST /token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"):
        with contextlib.closing(_connected(server, ca)) as connection:
            connection.sendall(said)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 400")
            assert connection.recv(1) == b""
    assert server.posts == []


def _connected(server: AuthServer, ca: DevCA) -> ssl.SSLSocket:
    tls = ssl.create_default_context(cafile=str(ca.root_file))
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=_WAIT_S)
    return tls.wrap_socket(raw, server_hostname="127.0.0.1")


def _request(token: str) -> bytes:
    fields = {**refresh_fields(token), "client_id": "tokenvault-scripted"}
    body = urlencode({**fields, "client_secret": "scripted client secret"})
    return f"POST /token HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def _begun(server: AuthServer, ca: DevCA, first: Issued) -> ssl.SSLSocket:
    """A connection with a refresh sent on it."""
    connection = _connected(server, ca)
    connection.sendall(_request(first.refresh_token))
    return connection


def _arrived(server: AuthServer, count: int) -> None:
    limit = time.monotonic() + _WAIT_S
    while len(server.posts) < count:
        assert time.monotonic() < limit
        time.sleep(_POLL_S)


def _ended(server: AuthServer, count: int) -> list[Entry]:
    limit = time.monotonic() + _WAIT_S
    while len([each for each in server.posts if each.ended_s is not None]) < count:
        assert time.monotonic() < limit, server.posts
        time.sleep(_POLL_S)
    return server.posts
