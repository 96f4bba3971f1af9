"""An authorization server that answers as a test wants, and keeps its own ledger.

Unscripted it is a strict one of refresh class S: a code works once, each refresh kills the refresh
token before, and a dead one is ``invalid_grant``. So a service that lost a reissued refresh token
in some fault is found out by its next refresh.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypedDict
from urllib.parse import parse_qs

import tokenvault_client as sdk
from tests.support.oidc import REDIRECT_URI
from vault_service.embedded.devca import DevCA
from vault_service.embedded.machine import choose_port
from vault_service.embedded.settings_files import TENANT

_BODY_MAX_BYTES = 65_536
_HOLD_LIMIT_S = 30.0
_STOP_LIMIT_S = 5.0
CLIENT_SECRET = "scripted client secret"  # of a test server


@dataclass(frozen=True, slots=True)
class Post:
    """One POST as it came, in the ledger before its answer leaves."""

    path: str
    fields: Mapping[str, str]
    authorization: str


@dataclass(slots=True)
class Answer:
    """What is answered. Without a body it is the strict server's own answer."""

    body: bytes | None = None
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: bool = False  # cut the connection instead, after reading the request
    hold: threading.Event | None = None  # answer when it is set

    @classmethod
    def json(cls, members: Mapping[str, Any], status: int = 200, **headers: str) -> Answer:
        """A JSON object; underscores in the headers' names are dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(json.dumps(members).encode(), status, headers=named)

    @classmethod
    def html(cls, status: int = 200) -> Answer:
        """What a gateway or a maintenance page says."""
        return cls(b"<!doctype html><title>Maintenance</title>", status, "text/html")


class Completion(TypedDict):
    """What a callback brings and the caller's session knows: keywords of the client's method."""

    state: str
    code: str
    owner: str


class ScriptedProvider:
    """https under the development CA, on a port that stays its own; served by threads."""

    def __init__(self, ca: DevCA) -> None:
        self.port = choose_port()
        self.host_port = f"127.0.0.1:{self.port}"
        self.issuer = f"https://{self.host_port}"
        self.name = sdk.provider_name(TENANT, f"scripted-{self.port}")
        self.oauth_client = sdk.oauth_client_name(TENANT, f"scripted-{self.port}")
        self.life_s = 600  # expires_in of its own answers
        self.posts: list[Post] = []
        self._script: deque[Answer] = deque()
        self._lock = threading.Lock()
        self._made = 0
        self._used_codes: set[str] = set()
        self._live: set[str] = set()  # refresh tokens
        self._server: ThreadingHTTPServer | None = None
        issued = ca.issue(f"scripted-{self.port}", ips=("127.0.0.1",), server=True, client=False)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(issued.certificate_file, issued.key_file)

    def up(self) -> ScriptedProvider:
        """Listen."""
        server = _Server(("127.0.0.1", self.port), self._handler())
        # The handshake belongs to the connection's thread, not to the one that accepts.
        server.socket = self._tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def down(self) -> None:
        """Nothing listens there any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def script(self, *answers: Answer) -> None:
        """The next answers of the token endpoint, before its own."""
        self._script.extend(answers)

    def sent(self, grant_type: str) -> list[Post]:
        """The POSTs of one grant type, oldest first."""
        return [post for post in self.posts if post.fields.get("grant_type") == grant_type]

    @contextlib.contextmanager
    def held(self) -> Iterator[threading.Event]:
        """The next answer waits for the event; set at the latest at the end."""
        event = threading.Event()
        self.script(Answer(hold=event))
        try:
            yield event
        finally:
            event.set()

    async def register(self, operator: sdk.TokenVaultClient) -> None:
        """Put it and our registration here."""
        await operator.put_provider(
            sdk.Provider(
                name=self.name,
                issuer=self.issuer,
                authorization_endpoint=f"{self.issuer}/authorize",
                token_endpoint=f"{self.issuer}/token",
                refresh_class=sdk.RefreshClass.S,
                subject_from="response:user",
                error_in_200=sdk.ErrorIn200(
                    codes={"bad_refresh_token": sdk.AnswerClass.INVALID_GRANT}
                ),
            )
        )
        await operator.put_oauth_client(
            sdk.OAuthClient(
                name=self.oauth_client,
                provider=self.name,
                client_id="tokenvault-scripted",
                redirect_uris=(REDIRECT_URI,),
                scopes=("calendar",),
            ),
            client_secret=CLIENT_SECRET,
        )

    async def start(
        self,
        app: sdk.TokenVaultClient,
        owner: str,
        *,
        redirect_uri: str = REDIRECT_URI,
        timeout_s: float | None = None,
    ) -> sdk.Authorization:
        """A consent begun; there is no page to see: any code ``{user}.{anything}`` ends it."""
        return await app.start_authorization(
            self.oauth_client,
            owner=owner,
            redirect_uri=redirect_uri,
            label="calendar",
            timeout_s=timeout_s,
        )

    def completion(self, started: sdk.Authorization, owner: str) -> Completion:
        """The callback of a consent that was begun."""
        return {"state": started.state, "code": f"{owner}.1", "owner": owner}

    async def consent(
        self, app: sdk.TokenVaultClient, owner: str, *, life_s: int | None = None
    ) -> sdk.CompletedAuthorization:
        """A whole consent; ``life_s`` 0 gives an access token that is stale on arrival."""
        started = await self.start(app, owner)
        usual, self.life_s = self.life_s, self.life_s if life_s is None else life_s
        try:
            return await app.complete_authorization(
                sdk.tenant_name(TENANT),
                state=started.state,
                code=f"{owner}.{started.state[:8]}",
                owner=owner,
            )
        finally:
            self.life_s = usual

    def _answer(self, post: Post) -> Answer:
        with self._lock:
            self.posts.append(post)
            scripted = self._script.popleft() if self._script else Answer()
        if scripted.hold is not None:
            scripted.hold.wait(_HOLD_LIMIT_S)
        if scripted.body is not None or scripted.reset:
            return scripted
        with self._lock:
            return self._own_answer(post)

    def _own_answer(self, post: Post) -> Answer:
        if post.fields.get("grant_type") == "authorization_code":
            code = post.fields["code"]
            if code in self._used_codes:
                return Answer.json({"error": "invalid_grant"}, 400)
            self._used_codes.add(code)
            return self._tokens({"user": code.partition(".")[0]})
        refresh_token = post.fields.get("refresh_token", "")
        if refresh_token not in self._live:
            return Answer.json({"error": "invalid_grant"}, 400)
        self._live.remove(refresh_token)
        return self._tokens({})

    def _tokens(self, more: Mapping[str, str]) -> Answer:
        self._made += 1
        refresh_token = f"rt-{self.port}-{self._made}"
        self._live.add(refresh_token)
        members: dict[str, Any] = {
            "access_token": f"at-{self.port}-{self._made}",
            "refresh_token": refresh_token,
            "token_type": "Bearer",
            "expires_in": self.life_s,
        }
        return Answer.json({**members, **more})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _STOP_LIMIT_S

            def do_POST(self) -> None:
                size = min(int(self.headers.get("Content-Length", 0)), _BODY_MAX_BYTES)
                form = parse_qs(self.rfile.read(size).decode(), strict_parsing=True)
                fields = {name: values[0] for name, values in form.items()}
                authorization = self.headers.get("Authorization", "")
                answer = provider._answer(Post(self.path, fields, authorization))
                if answer.reset:
                    _reset(self.connection)
                    return
                body = answer.body or b""
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(body)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """The ledger has it."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is not this server's fault, and some tests make it go."""


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
