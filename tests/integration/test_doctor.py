"""doctor on sound and on broken set-ups, with real servers: each is named, with what to do."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.authserver import AuthServer, VaultSide
from tests.support.cli import run, run_json
from tests.support.patient import Patient, failed
from tests.support.serving import changed
from tests.support.tls_front import TlsFront, tls_front
from tests.support.transit_front import transit_front
from tests.support.vault import RealVault
from vault_service.adapters.clock import SystemClock
from vault_service.app.doctor import Doctor
from vault_service.config import load
from vault_service.domain.finding import STANDARD, Finding, Verdict
from vault_service.embedded.devca import CLIENT_AUTH, SERVER_AUTH, DevCA
from vault_service.embedded.machine import choose_port
from vault_service.embedded.settings_files import TENANT

_DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def patient(real_vault: RealVault) -> Patient:
    """On the servers that stay up."""
    return Patient(real_vault)


@pytest.fixture(scope="module")
def fragile(breakable_vault: RealVault) -> Patient:
    """On the servers that tests take down."""
    return Patient(breakable_vault)


def test_a_sound_set_up(patient: Patient) -> None:
    """Nothing fails, the status is 0, and every dependency was looked at."""
    found = patient.examine(patient.files.serve)
    assert failed(found) == {}
    assert found.keys() >= {
        "configuration", "files.secret", "server.certificate", "server.key", "server.names",
        "server.client_ca_file", "policy", "spool", "disk", "process.memory", "database.reachable",
        "database.role", "database.writable", "database.migrations", "database.clock",
        "database.round_trip", "database.worker", "transit.reachable", "transit.seal",
        "transit.clock", "transit.login", "transit.rights", "transit.mount",
        f"transit.key.{TENANT}",
    }  # fmt: skip
    assert {check["verdict"] for check in found.values()} <= {"OK", "WARNING"}


def test_text_for_people(patient: Patient) -> None:
    """Every finding is a line, every advice an arrow below it, without colours in a pipe."""
    config = patient.broken(database__port=choose_port())
    ended = run("doctor", "--config", str(config))
    assert ended.status == 1
    assert "FAILED   database.reachable" in ended.out
    assert "→ start PostgreSQL" in ended.out
    assert "\x1b" not in ended.out + ended.err


def test_database_down(fragile: Patient) -> None:
    """A stopped PostgreSQL is not reached: start it; transit is looked at all the same."""
    fragile.vault.postgres.stop()
    try:
        found = fragile.examine(fragile.files.serve)
    finally:
        fragile.vault.postgres.start()
    assert failed(found).keys() == {"database.reachable", "database.worker"}
    assert "start PostgreSQL" in failed(found)["database.reachable"]
    assert found["database.migrations"]["verdict"] == "SKIPPED"
    assert found["transit.login"]["verdict"] == "OK"


def test_transit_sealed(fragile: Patient) -> None:
    """A sealed transit is named so: unseal it; the database is looked at all the same."""
    fragile.vault.openbao.seal()
    try:
        found = fragile.examine(fragile.files.serve)
    finally:
        fragile.vault.openbao.stop()
        fragile.vault.openbao.start()
    assert failed(found).keys() == {"transit.seal"}
    assert "unseal" in failed(found)["transit.seal"]
    assert found["transit.login"]["verdict"] == "SKIPPED"
    assert found["database.migrations"]["verdict"] == "OK"


def test_transit_down_and_frozen(fragile: Patient) -> None:
    """Nothing listens, or what listens does not answer: bounded, and each said as it is."""
    nobody = fragile.broken(transit__address=f"https://127.0.0.1:{choose_port()}")
    assert "cannot be reached" in failed(fragile.examine(nobody))["transit.reachable"]
    fragile.vault.openbao.pause()
    try:
        found = fragile.examine(fragile.files.serve)
    finally:
        fragile.vault.openbao.resume()
    assert "did not answer within" in failed(found)["transit.reachable"]


def test_wrong_database_password(patient: Patient) -> None:
    """The role's password is what is wrong, and only that."""
    wrong = patient.file("wrong-password", "not the password\n")
    found = patient.examine(patient.broken(database__password_file=wrong))
    assert failed(found).keys() == {"database.reachable"}
    assert "password is wrong" in failed(found)["database.reachable"]
    assert "ALTER ROLE" in failed(found)["database.reachable"]


def test_wrong_database_and_role(patient: Patient) -> None:
    """A database that is not there, and a role that sees through row-level security."""
    found = patient.examine(patient.broken(database__name="nowhere"))
    assert "CREATE DATABASE" in failed(found)["database.reachable"]
    owner = patient.vault.database.password_file("tokenvault_owner")
    too_much = patient.broken(database__user="tokenvault_owner", database__password_file=str(owner))
    assert "serve as tokenvault_app" in failed(patient.examine(too_much))["database.role"]


def test_migrations(patient: Patient) -> None:
    """Missing ones are named with the command; a changed and a newer one differ."""
    vault = patient.vault
    vault.sql("CREATE DATABASE unmigrated OWNER tokenvault_owner", database="postgres")
    config = patient.broken(database__name="unmigrated")
    missing = failed(patient.examine(config))
    assert missing.keys() == {"database.migrations"}
    assert "0001_main_job" in missing["database.migrations"]
    assert "tokenvault migrate" in missing["database.migrations"]
    admin = changed(
        replace(patient.files, serve=patient.files.admin),
        vault.directory / "unmigrated-admin.toml",
        {"database.name": "unmigrated"},
    )
    applied = run_json("migrate", "--config", str(admin))
    assert applied.json["applied"][0] == "0001_main_job"
    vault.sql(
        "INSERT INTO tokenvault.schema_migrations (name, sha256) VALUES ('9999_newer', '')",
        database="unmigrated",
    )
    ahead = patient.examine(config)["database.migrations"]
    assert (ahead["verdict"], "9999_newer" in ahead["found"]) == ("WARNING", True)
    vault.sql("UPDATE tokenvault.schema_migrations SET sha256 = 'x'", database="unmigrated")
    assert "changed after they ran" in failed(patient.examine(config))["database.migrations"]


def test_transit_login_refused(patient: Patient) -> None:
    """A wrong secret id is a refused login, not an outage."""
    wrong = patient.file("wrong-secret-id", "00000000-0000-0000-0000-000000000000\n")
    found = patient.examine(patient.broken(transit__secret_id_file=wrong))
    assert failed(found).keys() == {"transit.login"}
    assert "secret id" in failed(found)["transit.login"]
    assert found["transit.seal"]["verdict"] == "OK"


def test_transit_mount_rights_and_keys(patient: Patient) -> None:
    """A mount that is not there, the admin's rights in the service's hands, a missing key."""
    found = patient.examine(patient.broken(transit__mount="elsewhere"))
    assert "transit.mount" in failed(found)
    handle = patient.vault.openbao.start()
    admin = patient.broken(
        transit__role_id_file=str(handle.role_id_file("tokenvault-admin")),
        transit__secret_id_file=str(handle.secret_id_file("tokenvault-admin")),
    )
    assert "transit-service.hcl" in failed(patient.examine(admin))["transit.rights"]
    found = patient.examine(patient.files.serve, "--tenant", "unknown")
    assert failed(found).keys() == {"transit.key.unknown"}
    assert "tokenvault tenant create unknown" in failed(found)["transit.key.unknown"]


@pytest.mark.parametrize(("status", "says"), [(501, "operator init"), (472, "primary")])
def test_transit_that_does_not_serve(patient: Patient, status: int, says: str) -> None:
    """A server that was never initialised, and a disaster-recovery standby, by their status."""
    address = patient.vault.openbao.start().address
    with transit_front(address, patient.vault.ca, health=status) as front:
        found = patient.examine(patient.broken(transit__address=front))
    assert says in failed(found)["transit.seal"]


def test_certificate_expired_and_near(patient: Patient) -> None:
    """An expired certificate fails; five days before its end one that lives for thirty warns;
    an hour before its end one that lives for an hour and a bit does not."""
    now, ca = datetime.now(UTC), patient.vault.ca
    cases = (
        ("expired", now - 30 * _DAY, now - _DAY, "FAILED", "expired 24.0 hours ago"),
        ("not-yet", now + _DAY, now + 9 * _DAY, "FAILED", "check the clock"),
        ("near", now - 25 * _DAY, now + 5 * _DAY, "WARNING", "expires in 4 days"),
        ("short", now - _DAY / 48, now + _DAY / 24, "OK", "valid for another 1.0 hours"),
    )
    for name, since, until, verdict, says in cases:
        issued = ca.build_odd(
            name, dns=("localhost",), ekus=(SERVER_AUTH,), not_before=since, not_after=until
        )
        config = patient.broken(
            server__certificate_file=str(issued.certificate_file),
            server__key_file=str(issued.key_file),
        )
        check = patient.examine(config)["server.certificate"]
        assert check["verdict"] == verdict, check
        assert says in check["found"] + check["advice"]


def test_certificate_of_the_wrong_kind(patient: Patient) -> None:
    """No host's name, a client's usage, a chain in the wrong order: each is named."""
    ca = patient.vault.ca
    nameless = ca.build_odd("nameless", uris=("spiffe://x/y",), ekus=(SERVER_AUTH,))
    caller = ca.build_odd("caller", dns=("localhost",), ekus=(CLIENT_AUTH,))
    unchained = ca.build_odd("unchained", dns=("localhost",), ekus=(SERVER_AUTH,))
    unchained.certificate_file.write_text(
        unchained.certificate_file.read_text() + nameless.certificate_file.read_text()
    )
    for issued, check, says in (
        (nameless, "server.names", "names no host"),
        (caller, "server.names", "serverAuth"),
        (unchained, "server.chain", "order the file"),
    ):
        config = patient.broken(
            server__certificate_file=str(issued.certificate_file),
            server__key_file=str(issued.key_file),
        )
        assert says in failed(patient.examine(config))[check]


def test_key_of_another_certificate(patient: Patient) -> None:
    """The service would not start: the configuration is unusable (78), and why is said."""
    other = patient.vault.ca.build_odd("other-key", dns=("localhost",), ekus=(SERVER_AUTH,))
    found = patient.examine(patient.broken(server__key_file=str(other.key_file)))
    assert "is not the plain PEM key" in failed(found)["configuration"]
    assert found["database.reachable"]["verdict"] == "OK"


def test_policy_invalid(patient: Patient) -> None:
    """A policy that does not parse is named with its line; an empty one denies everything."""
    bad = patient.file("bad.cedar", '@id("a")\npermit (principal, action == Action::"Nope");\n')
    assert "line 1" in failed(patient.examine(patient.broken(policy_file=bad)))["policy"]
    empty = patient.file("empty.cedar", "// nothing yet\n")
    assert "denied" in failed(patient.examine(patient.broken(policy_file=empty)))["policy"]


async def test_wrong_authorities(patient: Patient, tmp_path: Path) -> None:
    """Neither transit nor PostgreSQL is trusted under the wrong CA, and each says so."""
    other = DevCA(tmp_path)
    found = await asyncio.to_thread(
        patient.examine, patient.broken(transit__ca_file=str(other.root_file))
    )
    assert failed(found).keys() == {"transit.reachable"}
    assert "ca_file" in failed(found)["transit.reachable"]
    handle = patient.vault.database
    issued = patient.vault.ca.issue("pg", server=True, client=False, dns=["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate_file, issued.key_file)
    socket = Path(handle.socket_dir) / f".s.PGSQL.{handle.port}"
    async with tls_front(TlsFront(socket, context)) as front:
        for ca, verdict in ((patient.vault.ca, "OK"), (other, "FAILED")):
            config = patient.broken(
                database__host="localhost",
                database__port=front.port,
                database__ca_file=str(ca.root_file),
            )
            found = await asyncio.to_thread(patient.examine, config)
            assert found["database.reachable"]["verdict"] == verdict
    assert "database.ca_file" in failed(found)["database.reachable"]


@pytest.mark.parametrize(("ahead_s", "verdict"), [(600, "FAILED"), (-10, "WARNING"), (0, "OK")])
def test_clock_of_transit(patient: Patient, ahead_s: int, verdict: str) -> None:
    """Ten minutes fail and ten seconds warn, whichever clock is ahead."""
    address = patient.vault.openbao.start().address
    with transit_front(address, patient.vault.ca, ahead=timedelta(seconds=ahead_s)) as front:
        check = patient.examine(patient.broken(transit__address=front))["transit.clock"]
    assert check["verdict"] == verdict, check


def _not_here() -> bool:
    """The process of the tests stays as it is."""
    return True


class _ShiftedClock(SystemClock):
    """This machine's wall clock, wrong by so much."""

    def __init__(self, by: timedelta) -> None:
        self._by = by

    def now(self) -> datetime:
        return super().now() + self._by


async def test_clock_of_this_machine(patient: Patient) -> None:
    """A wall clock that is wrong here differs from the database's and from transit's."""
    doctor = Doctor(
        load(patient.files.serve),
        limit_s=10,
        clock=_ShiftedClock(timedelta(minutes=5)),
        harden=_not_here,
    )
    found = _by_check(await doctor.examine())
    assert found["database.clock"].verdict is Verdict.FAILED
    assert "-300.0 s" in found["database.clock"].found
    assert found["transit.clock"].verdict is Verdict.FAILED
    assert "NTP" in found["transit.clock"].advice


async def test_disk_full(patient: Patient) -> None:
    """Below one threshold the disk warns, below the other it fails."""
    free = shutil.disk_usage(patient.vault.directory).free
    for thresholds, verdict in (
        (replace(STANDARD, disk_warn_bytes=2 * free), Verdict.WARNING),
        (replace(STANDARD, disk_fail_bytes=2 * free), Verdict.FAILED),
    ):
        doctor = Doctor(
            load(patient.files.serve), limit_s=10, thresholds=thresholds, harden=_not_here
        )
        found = _by_check(await doctor.examine())
        assert found["disk"].verdict is verdict
        assert "free some" in found["disk"].advice


def _by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_files_that_everyone_reads_or_changes(patient: Patient) -> None:
    """A world-readable credential and a world-writable policy warn, with the command that mends."""
    open_file = Path(patient.file("open-password", "x\n"))
    open_file.chmod(0o644)
    policy = Path(
        patient.file("loose.cedar", (patient.vault.directory / "policy.cedar").read_text())
    )
    policy.chmod(0o666)
    config = patient.broken(database__password_file=str(open_file), policy_file=str(policy))
    found = patient.examine(config)
    assert found["files.secret"]["verdict"] == "WARNING"
    assert "chmod 0600" in found["files.secret"]["advice"]
    assert "chmod o-w" in found["files.trusted"]["advice"]


def test_spool_in_a_bad_place(patient: Patient, tmp_path: Path) -> None:
    """A folder of the spool that others can enter, or that could not be made, is named with the
    command that mends; one in memory warns."""
    (tmp_path / "open").mkdir(mode=0o755)
    found = patient.examine(patient.broken(spool__path=str(tmp_path / "open")))
    assert "mkdir -m 0700" in failed(found)["spool"]
    found = patient.examine(patient.broken(spool__path=str(tmp_path / "no" / "such" / "spool")))
    assert "No such file" in failed(found)["spool"]
    if os.access("/dev/shm", os.W_OK):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
            check = patient.examine(patient.broken(spool__path=memory))["spool"]
        assert (check["verdict"], "forgets" in check["found"]) == ("WARNING", True)


def test_configuration_that_cannot_be_used(patient: Patient, tmp_path: Path) -> None:
    """What cannot be loaded ends with 78 and nothing else; a missing file ends with 78 too, after
    everything that does not need it was looked at."""
    nonsense = tmp_path / "tokenvault.toml"
    nonsense.write_text("[server\n")
    ended = run_json("doctor", "--config", str(nonsense))
    assert (ended.status, ended.error["reason"]) == (78, "CONFIGURATION_INVALID")
    missing = patient.broken(transit__secret_id_file=str(tmp_path / "none"))
    found = patient.examine(missing)
    assert "transit.secret_id_file" in failed(found)["configuration"]
    assert found["transit.reachable"]["verdict"] == "SKIPPED"
    assert found["database.reachable"]["verdict"] == "OK"


@pytest.fixture
def with_providers(patient: Patient) -> Iterator[AuthServer]:
    """A provider that answers and one where nothing listens, both known to the tenant."""
    gone = f"127.0.0.1:{choose_port()}"
    with AuthServer(patient.vault.ca) as server:
        port = patient.vault.serve("doctor-providers", [server.host_port, gone])

        async def register() -> None:
            async with patient.vault.client("operator", port) as operator:
                await server.register(operator)
                await VaultSide(gone).register(operator)

        asyncio.run(register())
        patient.vault.stop_process("doctor-providers")
        yield server


def test_hosts_of_providers(patient: Patient, with_providers: AuthServer) -> None:
    """Asked only with --providers: one answers by TLS with the right time, one does not."""
    config = patient.vault.files["doctor-providers"].serve
    assert not any(name.startswith("provider") for name in patient.examine(config))
    found = patient.examine(config, "--providers")
    assert found[f"provider.{with_providers.host_port}"]["verdict"] == "OK"
    assert len([name for name in failed(found) if name.startswith("provider.")]) >= 1
