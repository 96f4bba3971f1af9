"""``tokenvault spool``: looking at spools, bringing those of a dead host, giving one up."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.fakes.clock import FakeClock
from tests.integration.test_spool_killed import holding
from tests.support.spool_child import ATTEMPT, ENVELOPE, GRANT, SLOTS
from tests.support.vault import RealVault
from vault_service.adapters.clock import SystemEntropy
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.spool.spool import FileSpool
from vault_service.domain.attempt import SpoolEntry, SpoolKind


def command(*arguments: str, fails: int = 0) -> str:
    """Runs one; both outputs."""
    done = subprocess.run(
        [sys.executable, "-m", "vault_service", "spool", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == fails, f"{arguments} ended {done.returncode}: {done.stderr}"
    return done.stdout + done.stderr


def left_by_the_dead(folder: Path) -> uuid.UUID:
    """A folder with one answer, as a killed process leaves it."""
    with holding(folder) as (_, spool_id):
        return spool_id


def recovered(folder: Path) -> list[SpoolEntry]:
    """What a service that runs on this folder finds."""

    async def run() -> list[SpoolEntry]:
        spool = FileSpool(SpoolSettings(folder, SLOTS), FakeClock(), SystemEntropy())
        try:
            return list(await spool.left_over())
        finally:
            await spool.close()

    return asyncio.run(run())


def test_list_tells_names_and_never_contents(tmp_path: Path) -> None:
    """Spools and entries are listed, in use or not, for people and for programs; what came back
    is not, and looking takes no lock that a service would miss."""
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    os.mkfifo(folder / f"{uuid.uuid4()}.spool")  # what is no file is no spool
    with holding(folder) as (_, spool_id):
        living = json.loads(command("list", "--path", str(folder), "--output", "json"))
        shown = command("list", "--path", str(folder))
    (spool,) = living["spools"]
    assert (spool["spool_id"], spool["is_locked"], spool["slots"]) == (str(spool_id), True, SLOTS)
    (entry,) = spool["entries"]
    assert entry["attempt_id"] == str(ATTEMPT)
    assert (entry["grant"], entry["mark"]) == (f"tenants/acme/grants/{GRANT}", "RECEIVED")
    assert str(ATTEMPT) in shown
    assert "RECEIVED" in shown
    assert ENVELOPE[32:127].decode() not in shown
    dead = json.loads(command("list", "--path", str(folder), "--output", "json"))
    assert dead["spools"][0]["is_locked"] is False


def test_list_and_replay_know_consents(tmp_path: Path) -> None:
    """The exchange of a code is listed by its authorization, and replayed like a refresh."""
    source, folder = tmp_path / "rescued", tmp_path / "spool"
    folder.mkdir(mode=0o700)

    async def die_with_a_code_under_way() -> None:
        spool = FileSpool(SpoolSettings(source, SLOTS), FakeClock(), SystemEntropy())
        await spool.mark_sent(await spool.reserve(ATTEMPT, "acme", GRANT, SpoolKind.CONSENT))
        await spool.close()

    asyncio.run(die_with_a_code_under_way())
    listed = json.loads(command("list", "--path", str(source), "--output", "json"))
    (entry,) = listed["spools"][0]["entries"]
    assert (entry["grant"], entry["mark"]) == (f"tenants/acme/authorizations/{GRANT}", "SENT")
    command("replay", "--from", str(source), "--path", str(folder))
    (found,) = recovered(folder)
    assert (found.attempt_id, found.kind) == (ATTEMPT, SpoolKind.CONSENT)


def test_list_needs_a_folder(tmp_path: Path) -> None:
    """A folder that is not there, or was not named, is told as such."""
    assert "is not a folder" in command("list", "--path", str(tmp_path / "no"), fails=1)
    assert "--path" in command("list", fails=2)


def test_replay_brings_a_dead_hosts_spool(tmp_path: Path) -> None:
    """The spool comes whole and under its own id, and the service that runs there adopts it; what
    is there already is refused, and the source stays."""
    source, folder = tmp_path / "rescued", tmp_path / "spool"
    spool_id = left_by_the_dead(source)
    assert recovered(folder) == []
    told = command("replay", "--from", str(source), "--path", str(folder))
    assert f"{spool_id} taken over, 1 entries" in told
    copy = folder / f"{spool_id}.spool"
    assert copy.read_bytes() == (source / copy.name).read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert list(folder.glob("*.new")) == []
    again = command("replay", "--from", str(source), "--path", str(folder), fails=1)
    assert "already" in again
    (entry,) = recovered(folder)
    assert (entry.spool_id, entry.attempt_id, entry.envelope) == (spool_id, ATTEMPT, ENVELOPE)


def test_replay_refuses_what_lives_and_what_is_empty(tmp_path: Path) -> None:
    """A spool in use, a folder without entries, and the service's own folder are not copied."""
    source, folder = tmp_path / "rescued", tmp_path / "spool"
    recovered(folder)
    with holding(source):
        living = command("replay", "--from", str(source), "--path", str(folder), fails=1)
    assert "a process that lives uses" in living
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has an entry" in command("replay", "--from", str(empty), "--path", str(folder), fails=1)
    assert "own spools" in command("replay", "--from", str(folder), "--path", str(folder), fails=1)
    missing = command("replay", "--from", str(source), "--path", str(tmp_path / "no"), fails=1)
    assert "start the service once" in missing


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_replay_by_root_leaves_files_of_the_services_user(tmp_path: Path) -> None:
    """What root copies belongs to the owner of the folder, who must be able to open it."""
    source, folder = tmp_path / "rescued", tmp_path / "spool"
    spool_id = left_by_the_dead(source)
    folder.mkdir(mode=0o700)
    os.chown(folder, 4_321, 4_321)
    command("replay", "--from", str(source), "--path", str(folder))
    command("list", "--path", str(folder))
    found = {(each.name, each.stat().st_uid) for each in folder.iterdir()}
    assert found == {(f"{spool_id}.spool", 4_321)}


def test_abandon_is_written_once_and_on_record(real_vault: RealVault) -> None:
    """Giving up a spool is written with its record, asked for before, and once."""
    files = real_vault.write_files("spool", ())
    spool_id = uuid.uuid4()
    config = ("--config", str(files.admin))
    real_vault.command("spool", "abandon", str(spool_id), *config, fails=1, stdin="n\n")
    assert not real_vault.sql(
        f"SELECT 1 FROM tokenvault.abandoned_spools WHERE spool_id = '{spool_id}'"
    )
    told = real_vault.command("spool", "abandon", str(spool_id), *config, "--yes")
    assert f"spools/{spool_id} abandoned" in told
    assert real_vault.sql(
        f"SELECT 1 FROM tokenvault.abandoned_spools WHERE spool_id = '{spool_id}'"
    )
    again = real_vault.command("spool", "abandon", str(spool_id), *config, "--yes")
    assert "was abandoned already" in again
    records = real_vault.sql(
        f"SELECT count(*) FROM tokenvault.audit_records WHERE resource = 'spools/{spool_id}'"
    )
    assert records == (1,)


def test_abandon_refuses_a_spool_that_is_here(real_vault: RealVault) -> None:
    """A spool in the service's own folder is replayed by the service and cannot be given up."""
    files = real_vault.write_files("spool", ())
    folder = real_vault.directory / "spool"
    spool_id = left_by_the_dead(folder)
    told = real_vault.command(
        "spool", "abandon", str(spool_id), "--config", str(files.serve), "--yes", fails=1
    )
    assert "there is nothing to give up" in told
    (folder / f"{spool_id}.spool").unlink()
