"""Transit on a real OpenBao: what the port's contract cannot say."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.clock import FakeClock
from tests.support.openbao import DevOpenBao
from vault_service.adapters.clock import SystemClock
from vault_service.adapters.transit import TransitAdmin, TransitKeyWrapper
from vault_service.adapters.transit.connection import Connection
from vault_service.domain import limits
from vault_service.domain.envelope import DekOwner, Level
from vault_service.domain.errors import KekDenied, Reason, VaultError
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import Clock

APP = DekOwner("acme", Level.APPLICATION, "")
GLOBEX = DekOwner("globex", Level.APPLICATION, "")

MakeWrapper = Callable[..., TransitKeyWrapper]


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevOpenBao]:
    """One OpenBao with the keys of two tenants."""
    server = DevOpenBao(Path(tmp_path_factory.mktemp("bao")))
    try:
        server.start()
        asyncio.run(_provision(server))
        yield server
    finally:
        server.stop()


async def _provision(server: DevOpenBao) -> None:
    admin = TransitAdmin(server.settings("admin"), SystemClock())
    for tenant in ("acme", "globex"):
        await admin.create_tenant_key(tenant)
    await admin.close()


@pytest.fixture
async def make(bao: DevOpenBao) -> AsyncIterator[MakeWrapper]:
    """Makes wrappers and closes them."""
    made: list[TransitKeyWrapper] = []

    def make(
        role: str = "service", clock: Clock | None = None, **changes: Any
    ) -> TransitKeyWrapper:
        made.append(TransitKeyWrapper(bao.settings(role, **changes), clock or SystemClock()))
        return made[-1]

    yield make
    for wrapper in made:
        await wrapper.close()


@pytest.fixture
def requests_sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of all POSTs, as they are sent."""
    sent: list[str] = []
    post = Connection.post

    async def counting(self: Connection, path: str, *rest: Any) -> Any:
        sent.append(path)
        return await post(self, path, *rest)

    monkeypatch.setattr(Connection, "post", counting)
    return sent


def new_key() -> Sensitive:
    return Sensitive(os.urandom(32))


async def test_a_thousand_unwraps_share_few_requests(
    make: MakeWrapper, requests_sent: list[str]
) -> None:
    """1,000 concurrent unwraps of two tenants take a login and at most 2 × 7 requests."""
    wrapper = make()
    keys = [new_key() for _ in range(1_000)]
    owners = [(APP, GLOBEX)[i % 2] for i in range(1_000)]
    pairs = zip(keys, owners, strict=True)
    rows = await asyncio.gather(*(wrapper.wrap(os.urandom(16), o, k) for k, o in pairs))
    requests_sent.clear()
    opened = await asyncio.gather(*(wrapper.unwrap(row) for row in rows))
    assert all(key.same_as(got) for key, got in zip(keys, opened, strict=True))
    assert len(requests_sent) <= 14
    assert all("/decrypt/" in path for path in requests_sent)


async def test_a_revoked_token_is_replaced_once(
    make: MakeWrapper, bao: DevOpenBao, requests_sent: list[str]
) -> None:
    """After its token was revoked, calls succeed by one new login however many run."""
    bao.add_role("revoked", policy="service")
    wrapper = make("revoked")
    row = await wrapper.wrap(os.urandom(16), APP, new_key())
    bao.revoke_logins("revoked")
    requests_sent.clear()
    await asyncio.gather(*(wrapper.unwrap(row) for _ in range(500)))
    assert sum(path.endswith("/login") for path in requests_sent) == 1


async def test_a_denying_policy_does_not_cause_a_login_at_every_call(
    make: MakeWrapper, bao: DevOpenBao, requests_sent: list[str]
) -> None:
    """Where the policy refuses, one new login is tried and then none for a while."""
    bao.allow("nothing", 'path "transit/x" { capabilities = ["read"] }')
    bao.add_role("denied", policy="nothing")
    wrapper = make("denied")
    for _ in range(5):
        with pytest.raises(KekDenied):
            await wrapper.wrap(os.urandom(16), APP, new_key())
    assert sum(path.endswith("/login") for path in requests_sent) == 2


async def test_a_secret_id_replaced_in_its_file_is_used_at_the_next_login(
    make: MakeWrapper, bao: DevOpenBao
) -> None:
    """A wrong secret id is KekDenied; the right one in the same file works without a restart."""
    bao.add_role("changing", policy="service")
    settings = bao.settings("changing")
    good = settings.secret_id_file.read_text()
    settings.secret_id_file.write_text("00000000-0000-0000-0000-000000000000")
    wrapper = make("changing")
    with pytest.raises(KekDenied, match="refuses our login"):
        await wrapper.probe()
    settings.secret_id_file.write_text(good)
    await wrapper.probe()


@pytest.mark.parametrize("content", [None, "", "x" * 5_000, "\xff"], ids=str)
async def test_unreadable_credentials_are_named(
    make: MakeWrapper, tmp_path: Path, content: str | None
) -> None:
    """A missing, empty, oversized or binary credential file is KekDenied and is named."""
    path = tmp_path / "secret-id"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(KekDenied, match="secret-id"):
        await make(secret_id_file=path).probe()


async def test_a_token_is_renewed_before_it_expires_and_replaced_near_its_end(
    make: MakeWrapper, bao: DevOpenBao, requests_sent: list[str]
) -> None:
    """At two thirds of its life the token is renewed; a renewal cut short means a new login."""
    bao.add_role("short", policy="service", ttl="6s", max_ttl="6s")
    clock = FakeClock()
    wrapper = make("short", clock)
    row = await wrapper.wrap(os.urandom(16), APP, new_key())
    clock.advance(4)
    await wrapper.unwrap(row)
    assert requests_sent[-2] == "auth/token/renew-self"
    await asyncio.sleep(4.2)  # by the server's clock less than half of the life is left
    clock.advance(4)
    await wrapper.unwrap(row)
    assert requests_sent[-3:-1] == ["auth/token/renew-self", "auth/approle/login"]


async def test_an_expired_token_is_not_renewed(make: MakeWrapper, requests_sent: list[str]) -> None:
    """A token past its life is replaced by a login at once."""
    clock = FakeClock()
    wrapper = make(clock=clock)
    row = await wrapper.wrap(os.urandom(16), APP, new_key())
    requests_sent.clear()
    clock.advance(7_200)
    await wrapper.unwrap(row)
    assert requests_sent[0] == "auth/approle/login"


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The address of a socket that takes connections and never says a word."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(64)
        yield f"https://127.0.0.1:{hole.getsockname()[1]}"


async def test_a_black_hole_is_unreachable_within_the_bound(
    make: MakeWrapper, black_hole: str
) -> None:
    """Where nobody ever answers, 200 calls all fail as KEK_UNREACHABLE in about two seconds."""
    wrapper = make(address=black_hole)
    start = time.monotonic()
    calls = [wrapper.wrap(os.urandom(16), APP, new_key()) for _ in range(200)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert time.monotonic() - start < limits.TRANSIT_LIMIT_S + 0.7
    for answer in answers:
        assert isinstance(answer, VaultError)
        assert answer.reason is Reason.KEK_UNREACHABLE
        assert not isinstance(answer, KekDenied)
    with pytest.raises(VaultError, match="did not answer within 2 s"):
        await wrapper.probe()


async def test_a_closed_port_is_unreachable(make: MakeWrapper) -> None:
    """Nobody listening is KEK_UNREACHABLE with what to check, and no denial."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(VaultError, match="check its address") as caught:
            await make(address=address).probe()
    assert caught.value.reason is Reason.KEK_UNREACHABLE
    assert not isinstance(caught.value, KekDenied)


async def test_a_foreign_certificate_is_denied(make: MakeWrapper, tmp_path: Path) -> None:
    """A server whose certificate is of another authority is KekDenied, and gets no credential."""
    with_other_ca = DevOpenBao(tmp_path)
    try:
        with_other_ca.start()
        with pytest.raises(KekDenied, match="ca_file"):
            await make(ca_file=with_other_ca.ca_file).probe()
    finally:
        with_other_ca.stop()


async def test_a_name_that_the_certificate_does_not_have_is_denied(
    make: MakeWrapper, bao: DevOpenBao
) -> None:
    """The right authority under another host name is KekDenied."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bao.certificate_file, bao.key_file)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.2", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(KekDenied, match="ca_file"):
            await make(address=f"https://127.0.0.2:{port}").probe()


async def test_a_plain_text_server_is_unreachable(make: MakeWrapper) -> None:
    """A server that does not speak TLS is KEK_UNREACHABLE and never sees a credential."""
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.read(1_024))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(VaultError) as caught:
            await make(address=f"https://127.0.0.1:{port}").probe()
    assert caught.value.reason is Reason.KEK_UNREACHABLE
    assert seen[:1] == b"\x16"  # a TLS handshake record and nothing else


async def test_an_unknown_mount_is_denied(make: MakeWrapper, bao: DevOpenBao) -> None:
    """A mount that is not there is KekDenied, whether the policy hides it or not."""
    bao.allow("wide", 'path "*" { capabilities = ["create", "update"] }')
    bao.add_role("wide")
    for wrapper in (make(mount="nowhere"), make("wide", mount="nowhere")):
        with pytest.raises(KekDenied):
            await wrapper.wrap(os.urandom(16), APP, new_key())


async def test_a_policy_that_could_create_keys_creates_none(
    make: MakeWrapper, bao: DevOpenBao
) -> None:
    """With upsert switched off even a too generous policy makes no key for an unknown tenant."""
    bao.allow("generous", 'path "transit/encrypt/*" { capabilities = ["create", "update"] }')
    bao.add_role("generous")
    with pytest.raises(VaultError, match="tokenvault tenant create nobody") as caught:
        await make("generous").wrap(os.urandom(16), replace(APP, tenant="nobody"), new_key())
    assert caught.value.reason is Reason.TENANT_NOT_PROVISIONED


async def test_a_retired_version_is_denied_and_others_of_the_batch_open(
    make: MakeWrapper, bao: DevOpenBao
) -> None:
    """A DEK under a retired KEK version is KekDenied; newer ones asked for with it unwrap."""
    wrapper, owner = make(), DekOwner("retiring", Level.APPLICATION, "")
    admin = TransitAdmin(bao.settings("admin"), SystemClock())
    await admin.create_tenant_key("retiring")
    await admin.close()
    old = await wrapper.wrap(os.urandom(16), owner, new_key())
    bao.root("POST", f"{bao.key_path('retiring')}/rotate")
    new = await wrapper.wrap(os.urandom(16), owner, new_key())
    bao.root("POST", f"{bao.key_path('retiring')}/config", min_decryption_version=2)
    answers = await asyncio.gather(wrapper.unwrap(old), wrapper.unwrap(new), return_exceptions=True)
    assert isinstance(answers[0], KekDenied)
    assert isinstance(answers[1], Sensitive)


async def test_the_environment_is_not_trusted(
    make: MakeWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies, CA bundles and VAULT_ variables of the environment change nothing."""
    for name, value in {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
        "REQUESTS_CA_BUNDLE": "/nonexistent",
        "VAULT_ADDR": "https://127.0.0.1:9",
        "VAULT_TOKEN": "wrong",
        "VAULT_CACERT": "/nonexistent",
        "VAULT_NAMESPACE": "elsewhere",
    }.items():
        monkeypatch.setenv(name, value)
    wrapper = make()
    await wrapper.probe()
    await wrapper.unwrap(await wrapper.wrap(os.urandom(16), APP, new_key()))


async def test_a_dek_of_the_wrong_size_is_refused_both_ways(
    make: MakeWrapper, bao: DevOpenBao
) -> None:
    """A key that is not 32 bytes is not wrapped, and is not taken from transit either."""
    wrapper = make()
    with pytest.raises(VaultError) as caught:
        await wrapper.wrap(os.urandom(16), APP, Sensitive(bytes(31)))
    assert caught.value.reason is Reason.INTERNAL
    row = await wrapper.wrap(os.urandom(16), APP, new_key())
    context = wrapper._context(row.dek_id, row.dek_owner)
    path = bao.key_path("acme").replace("/keys/", "/encrypt/")
    short = bao.root("POST", path, plaintext="A" * 40, context=context)["data"]["ciphertext"]
    with pytest.raises(VaultError) as caught:
        await wrapper.unwrap(replace(row, wrapped=short))
    assert caught.value.reason is Reason.ENVELOPE_CORRUPT


async def test_a_closed_wrapper_refuses(make: MakeWrapper) -> None:
    """After close, calls are refused as OVERLOADED instead of hanging."""
    wrapper = make()
    await wrapper.close()
    with pytest.raises(VaultError) as caught:
        await wrapper.wrap(os.urandom(16), APP, new_key())
    assert caught.value.reason is Reason.OVERLOADED
