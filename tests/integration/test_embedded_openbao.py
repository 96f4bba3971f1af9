"""The embedded OpenBao: the real server, its policies, and all that can happen to it."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.state_dirs import new_state_dir
from vault_service.embedded import loopback
from vault_service.embedded.devca import DevCA
from vault_service.embedded.loopback import Answer
from vault_service.embedded.machine import EmbeddedError
from vault_service.embedded.openbao import EmbeddedOpenBao, OpenBaoHandle
from vault_service.embedded.openbao_config import ADMIN_ROLE, SERVICE_ROLE, initialize

CONTEXT = base64.b64encode(b"row").decode()
PLAINTEXT = base64.b64encode(b"dek").decode()
WANTED = {
    "type": "aes256-gcm96",
    "derived": True,
    "exportable": False,
    "auto_rotate_period": "720h",
}


class Session:
    """One role's login at one server."""

    def __init__(self, handle: OpenBaoHandle, role: str) -> None:
        self.handle = handle
        self.token = log_in(handle, handle.secret_id_file(role).read_text(), role)

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """GET, or POST with a body."""
        headers = {"X-Vault-Token": self.token}
        return loopback.request(self.handle.port, self.handle.ca_file, f"/v1/{path}", body, headers)


def log_in(handle: OpenBaoHandle, secret_id: str, role: str) -> str:
    """A token, or "" where the login is refused."""
    body = {"role_id": handle.role_id_file(role).read_text(), "secret_id": secret_id}
    answer = loopback.request(handle.port, handle.ca_file, "/v1/auth/approle/login", body)
    return str(answer.member("auth", "client_token") or "")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedOpenBao]:
    """One server; the tests that break it start it again."""
    with new_state_dir() as state_dir:
        bao = EmbeddedOpenBao(state_dir, DevCA(state_dir), for_tests=True)
        yield bao
        bao.destroy()


@pytest.fixture
def handle(server: EmbeddedOpenBao) -> OpenBaoHandle:
    return server.start()


@pytest.fixture
def admin(handle: OpenBaoHandle) -> Session:
    return Session(handle, ADMIN_ROLE)


@pytest.fixture
def service(handle: OpenBaoHandle) -> Session:
    return Session(handle, SERVICE_ROLE)


@pytest.fixture
def key(admin: Session) -> str:
    """A tenant's key, new for each test."""
    name = f"tokenvault-{secrets.token_hex(8)}"
    assert admin.call(f"transit/keys/{name}", WANTED).status == 200
    return name


@pytest.fixture
def wrapped(service: Session, key: str) -> str:
    """A DEK under that key."""
    body = {"plaintext": PLAINTEXT, "context": CONTEXT}
    answer = service.call(f"transit/encrypt/{key}", body)
    return str(answer.member("data", "ciphertext"))


def opens(service: Session, key: str, wrapped: str) -> bool:
    body = {"ciphertext": wrapped, "context": CONTEXT}
    answer = service.call(f"transit/decrypt/{key}", body)
    return str(answer.member("data", "plaintext")) == PLAINTEXT


def test_service_wraps_and_unwraps(service: Session, key: str, wrapped: str) -> None:
    """The service encrypts, decrypts and rewraps under keys that exist, and renews its token."""
    assert opens(service, key, wrapped)
    body = {"ciphertext": wrapped, "context": CONTEXT}
    rewrapped = service.call(f"transit/rewrap/{key}", body).member("data", "ciphertext")
    assert opens(service, key, rewrapped)
    assert service.call("auth/token/renew-self", {}).status == 200
    assert service.call("auth/token/lookup-self").member("data", "ttl") <= 3600


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("transit/keys/{key}", None),
        ("transit/keys/{key}", WANTED),
        ("transit/keys/tokenvault-new", WANTED),
        ("transit/keys/{key}/rotate", {}),
        ("transit/keys/{key}/config", {"deletion_allowed": True}),
        ("transit/encrypt/tokenvault-unknown", {"plaintext": PLAINTEXT}),
        ("transit/encrypt/others-key", {"plaintext": PLAINTEXT}),
        ("transit/datakey/plaintext/{key}", {"context": CONTEXT}),
        ("transit/export/encryption-key/{key}", None),
        ("transit/config/keys", {"disable_upsert": False}),
        ("sys/mounts", None),
        ("sys/seal", {}),
        ("auth/token/create", {}),
        ("sys/policies/acl/tokenvault-service", None),
        ("sys/audit", None),
    ],
)
def test_service_may_nothing_else(
    service: Session, key: str, path: str, body: dict[str, Any] | None
) -> None:
    """The service neither reads nor makes nor changes keys, policies, logins or the server."""
    assert service.call(path.format(key=key), body).status == 403


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("transit/encrypt/{key}", {"plaintext": PLAINTEXT, "context": CONTEXT}),
        ("transit/decrypt/{key}", {"ciphertext": "{wrapped}", "context": CONTEXT}),
        ("transit/rewrap/{key}", {"ciphertext": "{wrapped}", "context": CONTEXT}),
        ("transit/export/encryption-key/{key}", None),
        ("transit/backup/{key}", None),
        ("transit/keys/others-key", WANTED),
        ("transit/keys/{key}/config", {"deletion_allowed": True}),
        ("transit/keys/{key}/config", {"exportable": True}),
        ("transit/keys/{key}/config", {"exportable": 1}),
        ("transit/keys/{key}/config", {"min_decryption_version": 2}),
        ("transit/keys/{key}/config", {"allow_plaintext_backup": True}),
        ("transit/keys/tokenvault-open", {"type": "aes256-gcm96", "exportable": "true"}),
        ("transit/keys/tokenvault-rsa", {"type": "rsa-2048"}),
        ("transit/config/keys", {"disable_upsert": False}),
        ("sys/policies/acl/tokenvault-admin", {"policy": ""}),
    ],
)
def test_admin_never_touches_data(
    admin: Session, key: str, wrapped: str, path: str, body: dict[str, Any] | None
) -> None:
    """The admin makes tenants' keys and reads them; it opens nothing and weakens no key."""
    filled = json.loads(json.dumps(body).replace("{wrapped}", wrapped))
    assert admin.call(path.format(key=key), filled).status == 403


def test_admin_makes_and_reads_keys(admin: Session, key: str) -> None:
    """A key comes out as it was asked for, and the mount's configuration can be checked."""
    data = admin.call(f"transit/keys/{key}").member("data")
    assert {name: data[name] for name in WANTED} == WANTED | {"auto_rotate_period": 2_592_000}
    assert admin.call("transit/config/keys").member("data", "disable_upsert") is True


def test_wrong_secret_ids_are_refused(handle: OpenBaoHandle) -> None:
    """A role's login takes its own secret id and no other's."""
    for wrong in ("", "x" * 43, handle.secret_id_file(ADMIN_ROLE).read_text()):
        assert log_in(handle, wrong, SERVICE_ROLE) == ""


def test_no_root_token_is_left(admin: Session, service: Session, handle: OpenBaoHandle) -> None:
    """No file holds a token, the first one is revoked, and nobody looks up another's."""
    for file in handle.folder.rglob("*"):
        # raft's files are sealed; the audit file holds HMACs.
        if file.is_file() and "raft" not in file.parts:
            assert b"s." + b"root" not in file.read_bytes()
            assert b'"client_token":"s.' not in file.read_bytes()
    assert "revoked lease: lease_id=auth/token/root/" in (handle.folder / "server.log").read_text()
    for session in (admin, service):
        assert session.call("auth/token/lookup", {"token": "root"}).status == 403
    listed = loopback.request(handle.port, handle.ca_file, "/v1/sys/mounts")
    assert listed.status == 403


def test_configuration_forgets_the_secret_ids(handle: OpenBaoHandle) -> None:
    """After the first start no configuration holds a secret id, and all files are ours alone."""
    config = (handle.folder / "config.json").read_text()
    assert "initialize" not in config
    assert handle.secret_id_file(SERVICE_ROLE).read_text() not in config
    files = [file for file in handle.folder.iterdir() if file.is_file()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_every_call_is_audited(service: Session, key: str, wrapped: str) -> None:
    """The declared audit device records each call, without what was said in it."""
    opens(service, key, wrapped)
    log = (service.handle.folder / "audit.log").read_text()
    assert f'"path":"transit/decrypt/{key}"' in log
    assert wrapped not in log
    assert service.token not in log


def test_plain_http_and_old_tls_are_refused(handle: OpenBaoHandle) -> None:
    """The listener speaks TLS only."""
    with socket.create_connection(("127.0.0.1", handle.port), 5) as plain:
        plain.sendall(b"GET /v1/sys/health HTTP/1.0\r\n\r\n")
        assert b"HTTP request to an HTTPS server" in plain.recv(1_000)


def test_restart_keeps_keys_and_logins(
    server: EmbeddedOpenBao, handle: OpenBaoHandle, key: str, wrapped: str
) -> None:
    """Keys, logins, address and what was wrapped are good after a stop and after a kill."""
    for end in (server.stop, server.kill):
        end()
        assert server.start() == handle
        assert opens(Session(handle, SERVICE_ROLE), key, wrapped)


def test_seal_is_asked_again_where_it_was_refused(
    server: EmbeddedOpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that refuses to be sealed, as one that has just become active does, is asked again
    until it is."""
    handle = server.start()
    refused: list[str] = []

    def refuse_once(port: int, ca_file: Path, path: str, *rest: Any) -> Answer:
        if path == "/v1/sys/seal" and not refused:
            refused.append(path)
            return Answer(500, b"{}")
        return request(port, ca_file, path, *rest)

    request = loopback.request
    monkeypatch.setattr(loopback, "request", refuse_once)
    server.seal()
    assert refused
    assert request(handle.port, handle.ca_file, "/v1/sys/health").status == 503
    server.stop()
    server.start()


def test_seal_and_unseal(
    server: EmbeddedOpenBao, handle: OpenBaoHandle, key: str, wrapped: str
) -> None:
    """Sealed it answers 503 to all; a restart unseals it."""
    service = Session(handle, SERVICE_ROLE)
    server.seal()
    assert service.call(f"transit/decrypt/{key}", {"ciphertext": wrapped}).status == 503
    server.stop()
    server.start()
    assert opens(service, key, wrapped)


def test_pause_and_resume(server: EmbeddedOpenBao, handle: OpenBaoHandle) -> None:
    """A paused server takes connections and answers nothing."""
    server.pause()
    with socket.create_connection(("127.0.0.1", handle.port), 5) as connection:
        connection.settimeout(0.3)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(1)
    server.resume()
    assert loopback.request(handle.port, handle.ca_file, "/v1/sys/health").status == 200


def test_taken_port_is_named(server: EmbeddedOpenBao, handle: OpenBaoHandle) -> None:
    """When another process has its port the error names it, and it starts once that is gone."""
    server.stop()
    with (
        socket.create_server(("127.0.0.1", handle.port)),
        pytest.raises(EmbeddedError, match=f"port {handle.port} .*is taken"),
    ):
        server.start()
    assert server.start() == handle


def test_damaged_storage_is_an_error_at_once(
    server: EmbeddedOpenBao, handle: OpenBaoHandle
) -> None:
    """A server that cannot start says why, with the end of its log."""
    server.stop()
    key_file = handle.folder / "seal.key"
    good = key_file.read_bytes()
    key_file.write_bytes(b"short")
    with pytest.raises(
        EmbeddedError, match=r"OpenBao stopped with exit status 1(.|\n)*server\.log"
    ):
        server.start()
    key_file.write_bytes(good)
    assert server.start() == handle


def test_interrupted_first_start_is_begun_anew(tmp_path: Path) -> None:
    """What a first start left that did not come to its end is made again."""
    ca = DevCA(tmp_path)
    bao = EmbeddedOpenBao(tmp_path, ca)
    handle = bao.start()
    bao.kill()
    (handle.folder / "ports.json").unlink()
    again = bao.start()
    assert Session(again, SERVICE_ROLE).token
    with pytest.raises(EmbeddedError, match="no role that may seal"):
        bao.seal()
    bao.destroy()


def test_key_prefix_cannot_widen_a_policy() -> None:
    """A prefix that would be a pattern or a path is refused."""
    for prefix in ("", "*", "a/b", "+", 'a"'):
        with pytest.raises(EmbeddedError, match="key prefix"):
            initialize(prefix, {})
