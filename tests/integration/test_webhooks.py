"""Webhooks of a running service: put on the command line, received by the example of the docs."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
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


class Commands:
    """``tokenvault webhook`` as the operator runs it."""

    def __init__(self, vault: RealVault, port: int, receiver: Receiver, folder: Path) -> None:
        self._vault = vault
        self._client = str(vault.client_files(port)["operator"])
        self._receiver = receiver
        self._secret_file = folder / "pager.secret"

    async def run(self, *arguments: str, fails: int = 0) -> str:
        """The output of one command."""
        asked = ("webhook", *arguments, "--client", self._client)
        return await asyncio.to_thread(self._vault.command, *asked, fails=fails)

    async def put(self, webhook: str = "pager", url: str = "", fails: int = 0) -> str:
        """Puts it with the receiver's secret of now."""
        self._secret_file.write_text(self._receiver.secret + "\n")
        url = url or f"https://{self._receiver.host_port}/hook"
        options = ("--secret-file", str(self._secret_file))
        return await self.run("put", TENANT, webhook, url, *options, fails=fails)


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
    commands = await asyncio.to_thread(Commands, real_vault, ports[0], receiver, tmp_path)
    assert "ENABLED" in await commands.put()
    inner = await commands.put("inner", "https://169.254.169.254/x", fails=1)
    assert "ENDPOINT_NOT_ALLOWED" in inner
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
        assert "signs too until" in await commands.put()
        await consent(app, oidc, owner="hooked", user="hooked", label="again")
        await receiver.until(3)
        new, receiver.secret = receiver.secret, old
        await operator.revoke_grant(done.grant.name)
        await receiver.until(4)
        assert receiver.answered == [500, 204, 204, 204]
        kinds = [event.kind.name for event in receiver.handled]
        assert kinds == ["CREATED", "RECONNECTED", "REVOKED"]
        assert {event.grant for event in receiver.handled} == {done.grant.name}

        receiver.statuses = [410]
        await operator.delete_grant(done.grant.name)
        await receiver.until(5)
        listed = await _gone_and_put_again(commands, done.grant.name)
        await receiver.until(6)
        assert receiver.handled[-1].kind is sdk.GrantEventKind.DELETED
        assert "is gone" in await commands.run("delete", TENANT, "pager", "--yes")
        assert WEBHOOK not in await commands.run("list", TENANT)
        records = await _records(auditor)
    logs = [(real_vault.directory / f"{name}.log").read_bytes() for name in real_vault.processes]
    shown = b"".join([listed.encode(), records.encode(), *logs, *receiver.bodies])
    for hidden in (old, new, token.value):
        assert hidden.removeprefix("whsec_").encode() not in shown


async def _gone_and_put_again(commands: Commands, grant: str) -> str:
    """The endpoint was gone; its dead letter is there, and on its way again. What list showed."""
    async with asyncio.timeout(_LIMIT_S):
        while "GONE" not in (listed := await commands.run("list", TENANT)):
            await asyncio.sleep(0.1)
    letters = await commands.run("dead-letters", TENANT, "pager")
    assert "DELETED" in letters
    assert grant in letters
    as_json = await commands.run("dead-letters", TENANT, "pager", "--output", "json")
    (letter,) = json.loads(as_json)["dead_letters"]
    assert letter.keys() == {each.name for each in dataclasses.fields(sdk.DeadLetter)}
    assert (letter["grant"], letter["status"]) == (grant, 410)
    url = listed.split()[-1]
    assert "ENABLED" in await commands.run("put", TENANT, "pager", url, "--keep-secret")
    again = await commands.run("redeliver", TENANT, "pager")
    assert again == "1 on their way again\n"
    return listed


async def _records(auditor: sdk.TokenVaultClient) -> str:
    """The webhook's records, whose actions are these."""
    records = [
        record
        async for record in auditor.iter_audit_records(f"tenants/{TENANT}", page_size=500)
        if record.resource == WEBHOOK
    ]
    assert [record.action for record in reversed(records)] == [
        "WEBHOOK_PUT", "WEBHOOK_PUT", "WEBHOOK_GONE", "WEBHOOK_PUT", "DEAD_LETTERS_REDELIVERED",
        "WEBHOOK_DELETED",
    ]  # fmt: skip
    return repr(records)
