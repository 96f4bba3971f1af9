"""Webhooks of a running service: put on the command line, received by the example of the docs."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import tokenvault_client as sdk
from tests.support.oidc import OidcProvider
from tests.support.vault import RealVault, consent, register
from vault_service.embedded.devca import DevCA
from vault_service.embedded.settings_files import TENANT

_GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "webhooks.md"
_LIMIT_S = 60.0
WEBHOOK = sdk.webhook_name(TENANT, "pager")


class Receiver:
    """The receiver of the guide behind an https server; ``statuses`` come first, one a request."""

    def __init__(self, ca: DevCA, secret: str) -> None:
        self.secret = secret
        self.statuses: list[int] = []
        self.answered: list[int] = []
        self.ids: list[str] = []
        self.bodies: list[bytes] = []
        example = re.findall(r"```python\n(.*?)```", _GUIDE.read_text(), re.DOTALL)
        self.guide: dict[str, Any] = {}
        exec(compile("\n".join(example), str(_GUIDE), "exec"), self.guide)
        self.handled: list[sdk.GrantEvent] = []
        self.guide["handle"] = self.handled.append
        issued = ca.issue("receiver", ips=["127.0.0.1"], server=True, client=False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate_file, issued.key_file)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host_port = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        self.ids.append(headers["webhook-id"])
        self.bodies.append(body)
        if self.statuses:
            status = self.statuses.pop(0)
        else:
            status = int(self.guide["receive"](self.secret, headers, body))
        self.answered.append(status)
        return status

    async def until(self, count: int) -> None:
        """Wait for so many requests."""
        async with asyncio.timeout(_LIMIT_S):
            while len(self.answered) < count:
                await asyncio.sleep(0.05)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.take(dict(self.headers), body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        return Handler


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture
def receiver(real_vault: RealVault) -> Iterator[Receiver]:
    made = Receiver(real_vault.ca, new_secret())
    yield made
    made.close()


@pytest.fixture
def ports(
    real_vault: RealVault, oidc: OidcProvider, receiver: Receiver
) -> Iterator[tuple[int, int]]:
    """Two replicas: each delivers, together each event once while nothing fails."""
    allowed = [oidc.host_port, receiver.host_port]
    names = ("hooks-a", "hooks-b")
    first, second = (real_vault.serve(name, allowed) for name in names)
    yield first, second
    for name in names:
        real_vault.stop_process(name)


@pytest.mark.long
async def test_a_webhooks_life(
    real_vault: RealVault,
    oidc: OidcProvider,
    receiver: Receiver,
    ports: tuple[int, int],
    tmp_path: Path,
) -> None:
    """Put by the operator, told of a grant's whole life once, signed; retried after a failure under
    the same id; a new secret signs beside the old one; 410 ends it, and dead letters go out again;
    no secret is in its list, in the record or in a log."""
    files = {name: str(path) for name, path in real_vault.client_files(ports[0]).items()}
    secret_file = tmp_path / "pager.secret"

    async def run(*arguments: str, fails: int = 0) -> str:
        asked = ("webhook", *arguments, "--client", files["operator"])
        return await asyncio.to_thread(real_vault.command, *asked, fails=fails)

    async def put(*options: str) -> str:
        return await run("put", TENANT, "pager", f"https://{receiver.host_port}/hook", *options)

    secret_file.write_text(receiver.secret + "\n")
    assert "ENABLED" in await put("--secret-file", str(secret_file))
    assert "ENDPOINT_NOT_ALLOWED" in await run(
        "put",
        TENANT,
        "inner",
        "https://169.254.169.254/x",
        "--secret-file",
        str(secret_file),
        fails=1,
    )
    async with (
        real_vault.client("operator", ports[0]) as operator,
        real_vault.client("calendar-app", ports[1]) as app,
        real_vault.client("auditor", ports[1]) as auditor,
    ):
        await register(operator, oidc)
        receiver.statuses = [500]
        done = await consent(app, oidc, owner="hooked", user="hooked")
        await receiver.until(2)
        assert receiver.answered == [500, 204]
        assert receiver.ids[0] == receiver.ids[1]
        assert receiver.bodies[0] == receiver.bodies[1]
        token = await app.get_access_token(alias=done.alias, min_ttl_s=0)

        old, receiver.secret = receiver.secret, new_secret()
        secret_file.write_text(receiver.secret)
        assert "signs too until" in await put("--secret-file", str(secret_file))
        await consent(app, oidc, owner="hooked", user="hooked", label="again")
        await receiver.until(3)
        receiver.secret = old
        await operator.revoke_grant(done.grant.name)
        await receiver.until(4)
        assert receiver.answered == [500, 204, 204, 204]
        kinds = [event.kind.name for event in receiver.handled]
        assert kinds == ["CREATED", "RECONNECTED", "REVOKED"]
        assert {event.grant for event in receiver.handled} == {done.grant.name}

        receiver.statuses = [410]
        await operator.delete_grant(done.grant.name)
        await receiver.until(5)
        async with asyncio.timeout(_LIMIT_S):
            while "GONE" not in (listed := await run("list", TENANT)):
                await asyncio.sleep(0.1)
        letters = await run("dead-letters", TENANT, "pager")
        assert "DELETED" in letters
        assert done.grant.name in letters
        assert "ENABLED" in await put("--keep-secret")
        assert await run("redeliver", TENANT, "pager") == "1 on their way again\n"
        await receiver.until(6)
        assert receiver.handled[-1].kind is sdk.GrantEventKind.DELETED
        assert "is gone" in await run("delete", TENANT, "pager", "--yes")
        assert WEBHOOK not in await run("list", TENANT)

        records = [
            record
            async for record in auditor.iter_audit_records(f"tenants/{TENANT}", page_size=500)
            if record.resource == WEBHOOK
        ]
    actions = [record.action for record in reversed(records)]
    assert actions == [
        "WEBHOOK_PUT", "WEBHOOK_PUT", "WEBHOOK_GONE", "WEBHOOK_PUT", "DEAD_LETTERS_REDELIVERED",
        "WEBHOOK_DELETED",
    ]  # fmt: skip
    logs = b"".join(
        (real_vault.directory / f"{name}.log").read_bytes() for name in real_vault.processes
    )
    shown = listed.encode() + repr(records).encode() + logs + b"".join(receiver.bodies)
    for hidden in (old, receiver.secret, token.value):
        assert hidden.removeprefix("whsec_").encode() not in shown
