"""The process: wrong configuration never starts, what is away is waited for, and it ends well."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_reflection.v1alpha import reflection_pb2

import tokenvault_client as sdk
from tests.support.serving import (
    NOT_SERVING,
    SERVING,
    changed,
    channel,
    health,
    operator_certificate,
    start,
    wait_health,
)
from tests.support.vault import RealVault
from vault_service.embedded.devca import DevCA
from vault_service.embedded.settings_files import TENANT, TRUST_DOMAIN, SettingsFiles

_EXIT_CONFIG = 78
_LIMIT_S = 40.0  # the drain and a busy machine


@pytest.fixture(scope="module")
def files(real_vault: RealVault) -> SettingsFiles:
    """A configuration that works."""
    return real_vault.write_files("serve", ())


def _superuser(vault: RealVault) -> dict[str, object]:
    password = vault.database.superuser_password_file
    return {"database.user": vault.database.superuser, "database.password_file": str(password)}


def _owner(vault: RealVault) -> dict[str, object]:
    password = vault.database.password_file("tokenvault_owner")
    return {"database.user": "tokenvault_owner", "database.password_file": str(password)}


def _empty_database(vault: RealVault) -> dict[str, object]:
    if not vault.sql("SELECT 1 FROM pg_database WHERE datname = 'empty'"):
        vault.sql("CREATE DATABASE empty OWNER tokenvault_owner")
    return {"database.name": "empty"}


def _open_folder(vault: RealVault) -> dict[str, object]:
    folder = vault.directory / "open-spool"
    folder.mkdir(mode=0o755)
    return {"spool.path": str(folder)}


def _bad_policy(vault: RealVault) -> dict[str, object]:
    policy = vault.directory / "broken.cedar"
    policy.write_text('@id("x")\npermit (principal, action, resource\n')
    return {"policy_file": str(policy)}


_WRONG: dict[str, tuple[Callable[[RealVault], dict[str, object]], str]] = {
    "plain-text database": (
        lambda _: {"database.host": "db.example", "database.ca_file": None},
        "database.ca_file: is needed: a host is only reached by TLS verify-full",
    ),
    "plain-text transit": (
        lambda _: {"transit.address": "http://127.0.0.1:8200"},
        "transit.address: ",
    ),
    "missing migrations": (_empty_database, "run: tokenvault migrate"),
    "unreadable key": (
        lambda _: {"server.key_file": "/nonexistent/tls.key"},
        "server.key_file: /nonexistent/tls.key cannot be read: No such file",
    ),
    "key of another certificate": (
        lambda vault: {"server.key_file": str(vault.ca.files("openbao").key_file)},
        "server.key_file: ",
    ),
    "no spool": (lambda _: {"spool.path": None}, "spool.path: is needed to serve"),
    "spool open to others": (_open_folder, "is open to others; chmod 700 it"),
    "broken policy": (_bad_policy, "policy_file: "),
    "unknown field": (lambda _: {"server.tls": "off"}, "server.tls: Extra inputs"),
    "plain-text collector": (
        lambda _: {"traces.otlp_endpoint": "http://collector.example/v1/traces"},
        "traces.otlp_endpoint: is plain http to another machine; use https",
    ),
    "superuser": (_superuser, "serve as tokenvault_app"),
    "owner of the tables": (_owner, "serve as tokenvault_app"),
}


async def test_wrong_configuration_exits_78_with_one_line(
    real_vault: RealVault, files: SettingsFiles, tmp_path: Path
) -> None:
    """Each says what is wrong, and where, in one line; nothing listens meanwhile."""

    async def attempt(number: int, wrong: str) -> None:
        make, says = _WRONG[wrong]
        config = changed(
            files,
            real_vault.directory / f"wrong-{number}.toml",
            {"server.port_file": str(tmp_path / "port")}
            | await asyncio.to_thread(make, real_vault),
        )
        said = await asyncio.to_thread(
            real_vault.command, "serve", "--config", str(config), fails=_EXIT_CONFIG
        )
        assert said.startswith("error: "), f"{wrong}: {said}"
        assert says in said, f"{wrong}: {said}"
        assert said.count("\n") == 1, f"{wrong}: {said}"

    pending = list(enumerate(_WRONG))
    while pending:  # two at a time: most of it is the start of Python
        await asyncio.gather(*(attempt(*pending.pop()) for _ in range(min(2, len(pending)))))
    assert not (tmp_path / "port").exists()


def test_check_says_all_faults_and_starts_nothing(
    real_vault: RealVault, files: SettingsFiles, tmp_path: Path
) -> None:
    """`serve --check` names every fault at once, one a line; a sound configuration exits 0."""
    port_file = tmp_path / "port"
    config = changed(
        files,
        real_vault.directory / "many.toml",
        {
            "server.port_file": str(port_file),
            "server.key_file": str(tmp_path / "no.key"),
            "database.password_file": str(tmp_path / "no.password"),
            "transit.secret_id_file": str(tmp_path),
            "database.worker_password_file": None,
        },
    )
    said = real_vault.command("serve", "--check", "--config", str(config), fails=_EXIT_CONFIG)
    faults = said.removeprefix("error: ").splitlines()
    assert sorted(fault.partition(":")[0] for fault in faults) == [
        "database.password_file",
        "database.worker_password_file",
        "server.key_file",
        "transit.secret_id_file",
    ]
    sound = changed(
        files, real_vault.directory / "sound.toml", {"server.port_file": str(port_file)}
    )
    said = real_vault.command("serve", "--check", "--config", str(sound))
    assert "configuration is sound" in said
    assert not port_file.exists()


def test_taken_port(real_vault: RealVault, files: SettingsFiles) -> None:
    """A port that another program has is an error that names it, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = changed(files, real_vault.directory / "taken.toml", {"server.port": port})
        said = real_vault.command("serve", "--config", str(config), fails=1)
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "Traceback" not in said


@pytest.fixture
def stopped_database(breakable_vault: RealVault) -> Iterator[RealVault]:
    """Its database is down, and up again afterwards."""
    breakable_vault.postgres.stop()
    yield breakable_vault
    breakable_vault.postgres.start()


async def test_database_away_at_the_start(stopped_database: RealVault) -> None:
    """It listens, says NOT_SERVING with the reason in the log, and becomes SERVING by itself."""
    vault = stopped_database
    port = vault.serve("early")
    try:
        await wait_health(vault, port, SERVING, "dependency.transit")
        assert await health(vault, port) == NOT_SERVING
        log = vault.processes["early"].log_file.read_text()
        assert "STORE_UNREACHABLE: the database does not answer" in log
        async with vault.client("calendar-app", port) as app:
            with pytest.raises(sdk.TryLater) as away:
                await app.get_secret_value(sdk.secret_name(TENANT, "any"), timeout_s=1)
        assert away.value.reason == "STORE_UNREACHABLE"
        vault.postgres.start()
        await wait_health(vault, port, SERVING)
    finally:
        vault.stop_process("early")


async def test_transit_sealed_or_stopped_at_the_start(breakable_vault: RealVault) -> None:
    """The same for transit, sealed and then stopped."""
    vault = breakable_vault
    vault.openbao.seal()
    try:
        port = vault.serve("sealed")
        await wait_health(vault, port, SERVING, "dependency.database")
        assert await health(vault, port) == NOT_SERVING
        log = vault.processes["sealed"].log_file
        assert "unseal the key store" in log.read_text()
        vault.openbao.stop()
        async with asyncio.timeout(_LIMIT_S):
            while "transit cannot be reached" not in log.read_text():
                await asyncio.sleep(0.1)
        vault.openbao.start()
        await wait_health(vault, port, SERVING)
        vault.stop_process("sealed")
    finally:
        vault.openbao.start()


async def _port_of(files: SettingsFiles) -> int:
    async with asyncio.timeout(_LIMIT_S):
        while not files.port.exists():
            await asyncio.sleep(0.02)
    return int(files.port.read_text())


async def _reflected(vault: RealVault, port: int) -> set[str]:
    async with channel(vault, port, operator_certificate(vault)) as bare:
        method = bare.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        async for answer in method(iter([request]), timeout=5):
            return {service.name for service in answer.list_services_response.service}
    return set()


async def test_reflection_replaced_certificates_and_the_process_itself(
    real_vault: RealVault, files: SettingsFiles, tmp_path: Path
) -> None:
    """Reflection is off unless configured; new connections use certificates and trust bundles
    that were replaced on disk; the process leaves no core and is undumpable."""
    certificate, key, bundle = (tmp_path / name for name in ("tls.pem", "tls.key", "cas.pem"))
    issued = real_vault.ca.files("tokenvault")
    shutil.copy(issued.certificate_file, certificate)
    shutil.copy(issued.key_file, key)
    shutil.copy(real_vault.ca.root_file, bundle)
    config = changed(
        files,
        real_vault.directory / "reload.toml",
        {
            "server.reflection": None,
            "server.certificate_file": str(certificate),
            "server.key_file": str(key),
            "server.client_ca_file": str(bundle),
        },
    )
    files.port.unlink(missing_ok=True)
    process = start(config, tmp_path / "log")
    try:
        port = await _port_of(files)
        with pytest.raises(grpc.aio.AioRpcError) as absent:
            await _reflected(real_vault, port)
        assert absent.value.code() is grpc.StatusCode.UNIMPLEMENTED
        await _assert_reloads(real_vault, port, certificate, key, bundle, tmp_path)
        _assert_leaves_no_core(process.pid)
    finally:
        process.terminate()
        assert process.wait(_LIMIT_S) == 0
    assert '"undumpable":true' in (tmp_path / "log").read_text()


async def test_reflection_where_configured(real_vault: RealVault) -> None:
    """It names our services, health and itself."""
    port = real_vault.serve("reflecting")
    try:
        found = await _reflected(real_vault, port)
    finally:
        real_vault.stop_process("reflecting")
    assert {"tokenvault.v1.TokenService", "grpc.health.v1.Health"} <= found


async def _assert_reloads(
    vault: RealVault, port: int, certificate: Path, key: Path, bundle: Path, folder: Path
) -> None:
    other = DevCA(folder / "other")
    stranger = other.issue(
        "stranger", spiffe_id=f"spiffe://{TRUST_DOMAIN}/operator", server=False, client=True
    )
    before = await _served_certificate(port)
    with pytest.raises(sdk.TransportRefused):
        await _list_providers(vault, port, stranger.certificate_file, stranger.key_file)
    renewed = vault.ca.build_odd("renewed", dns=("localhost",), ips=("127.0.0.1",), ekus=())
    # One file after the other, as everyone writes them: in between, the old pair serves on.
    shutil.copy(renewed.key_file, key)
    assert await _served_certificate(port) == before
    shutil.copy(renewed.certificate_file, certificate)
    assert await _served_certificate(port) == renewed.certificate_file.read_text()
    both = [shown.root_file.read_text() for shown in (vault.ca, other)]
    await asyncio.to_thread(bundle.write_text, "".join(both))
    await _list_providers(vault, port, stranger.certificate_file, stranger.key_file)


async def _served_certificate(port: int) -> str:
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))


async def _list_providers(vault: RealVault, port: int, certificate: Path, key: Path) -> None:
    async with sdk.TokenVaultClient(
        f"127.0.0.1:{port}",
        ca_file=vault.ca.root_file,
        certificate_file=certificate,
        key_file=key,
    ) as client:
        await client.list_providers(sdk.tenant_name(TENANT), timeout_s=5)


def _assert_leaves_no_core(pid: int) -> None:
    limits = Path(f"/proc/{pid}/limits").read_text()
    (cores,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert cores.split()[4:6] == ["0", "0"]


# Without capabilities root is a user like any other: none in the bounding set, so that none comes
# back by exec (prctl(2) PR_CAPBSET_DROP, refused to who has none), and none now (capset(2)).
_LOOK_AT_MEMORY = """
import ctypes, struct, subprocess, sys
libc = ctypes.CDLL(None)
for capability in range(64):
    libc.prctl(24, capability, 0, 0, 0)
assert libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)) == 0
harden = "from vault_service.adapters.process import harden; harden()"
for what in ("pass", harden):
    code = f"{what}\\nprint('up', flush=True)\\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        try:
            open(f"/proc/{child.pid}/mem", "rb").close()
            print("open")
        except PermissionError:
            print("closed")
        child.stdin.write(b"\\n")
"""


def test_memory_is_closed_to_processes_of_the_same_user() -> None:
    """What `serve` tells the system at its start keeps a process of the same uid out of its memory
    (CAP_SYS_PTRACE is stronger, and the threat model says so); without it, it gets in."""
    looked = subprocess.run(
        [sys.executable, "-c", _LOOK_AT_MEMORY],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    assert looked.stdout.split() == ["open", "closed"]
