"""Threats T1, T16, T17: random secrets go through every RPC, on success and on failure; afterwards
none is in any file, dump, log, record, metric, trace, error, core or process list."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import running_vault
from tests.rpc.test_contract import METHODS
from tests.support.authserver import AuthServer, Behaviour, RefreshClass
from tests.support.canaries import Canaries, files_under, forms
from tests.support.canary_campaign import Campaign
from tests.support.canary_places import Observed, dump, processes
from tests.support.canary_wire import ALLOWED, OPERATOR, Wire
from tests.support.vault import RealVault
from vault_service.domain.errors import Reason

pytestmark = pytest.mark.timeout(600)

_ROUNDS = 2
_UNTIL_ENOUGH = -1
_ENOUGH = 1_000
_SETTLE_S = 2.5  # what is counted or batched for a second is written, traces are sent


@dataclass(frozen=True)
class Evidence:
    """What the campaign used, and every place where some of it could have been left."""

    vault: RealVault
    canaries: Canaries
    states: Canaries
    outcomes: dict[str, set[str]]
    scratch: Path
    collected: Path  # replies, dump, process list, metrics, traces

    def places(self) -> list[Path]:
        """State of all servers (data directory and WAL, raft, logs), and what was collected."""
        folders = (self.vault.directory, Path(self.vault.data_directory), self.collected)
        return sorted(set(files_under(*folders)))


def _run(wire: Wire, vault: RealVault, provider: AuthServer, rounds: int) -> None:
    campaign = Campaign(wire, provider)

    async def whole_rounds() -> None:
        async with vault.client(OPERATOR, wire.port) as operator:
            await provider.register(operator)
        done = 0
        while done < rounds or (rounds == _UNTIL_ENOUGH and _minted(wire.canaries) < _ENOUGH):
            done += 1
            await campaign.whole_round()

    # Servers are started in this thread: they end with the thread that started them.
    with asyncio.Runner() as runner:
        runner.run(whole_rounds())
        vault.openbao.seal()
        runner.run(campaign.dependency_down("sealed"))
        vault.openbao.stop()
        vault.openbao.start()
        vault.postgres.stop()
        runner.run(campaign.dependency_down("stopped"))
        vault.postgres.start()
        runner.run(wire.close())


def _minted(canaries: Canaries) -> int:
    """Without those that were in the metadata only."""
    return len(canaries) - canaries.count()["metadata"]


@contextlib.contextmanager
def _campaign(rounds: int) -> Iterator[Evidence]:
    scratch, collected = (Path(tempfile.mkdtemp(prefix="tv-canary-")) for _ in range(2))
    try:
        with running_vault() as vault:
            yield _evidence(vault, rounds, scratch, collected)
    finally:
        shutil.rmtree(scratch)
        shutil.rmtree(collected)


def _evidence(vault: RealVault, rounds: int, scratch: Path, collected: Path) -> Evidence:
    provider, canaries = AuthServer(vault.ca), Canaries()
    # Its refresh tokens stay: a failed refresh leaves no question behind.
    provider.configure(Behaviour(refresh_class=RefreshClass.N))
    provider.up()
    observed = Observed(collected)
    with observed.variables() as variables:
        port = vault.serve("canary", [provider.host_port], dict(os.environ) | dict(variables))
        wire = Wire(vault, port, canaries, collected / "replies")

        _run(wire, vault, provider, rounds)
        time.sleep(_SETTLE_S)
        observed.scrape(collected / "metrics")
        pids = [vault.processes["canary"].pid, os.getpid()]
        processes(pids, collected / "processes")
        vault.stop_process("canary")
    for post in provider.posts:
        if "code_verifier" in post.fields:
            canaries.adopt(post.fields["code_verifier"], "code verifier")
    provider.close()
    states = Canaries()
    for state in wire.states:
        states.adopt(state, "state")
    vault.sql("CHECKPOINT", database="postgres")
    dump(vault, collected / "dump.sql")
    return Evidence(vault, canaries, states, wire.outcomes, scratch, collected)


@pytest.fixture(scope="module")
def evidence() -> Iterator[Evidence]:
    """A short campaign."""
    with _campaign(_ROUNDS) as found:
        yield found


def _assert_nothing_left(evidence: Evidence) -> None:
    places = evidence.places()
    assert evidence.canaries.search(places, evidence.scratch) == []
    # A state is in the reply that began its consent, and nowhere else.
    elsewhere = [place for place in places if place.name != "replies"]
    assert evidence.states.search(elsewhere, evidence.scratch) == []


def test_no_canary_is_left(evidence: Evidence) -> None:
    """Not one secret is found, in any form, in any place."""
    assert _minted(evidence.canaries) >= 100
    assert evidence.canaries.count()["code verifier"] >= 5
    _assert_nothing_left(evidence)


def test_campaign_reached_everything(evidence: Evidence) -> None:
    """Every RPC was allowed at least once or refused for what is not there, and denied; reasons of
    every kind came up."""
    for method in METHODS:
        assert "CALLER_NOT_ALLOWED" in evidence.outcomes[method.name], method.name
        assert "NAME_MALFORMED" in evidence.outcomes[method.name], method.name
        assert "FIELD_MALFORMED" in evidence.outcomes[method.name], method.name
    allowed = {name for name, outcomes in evidence.outcomes.items() if ALLOWED in outcomes}
    assert allowed == {method.name for method in METHODS}
    reasons = set().union(*evidence.outcomes.values()) - {ALLOWED}
    wanted = {
        Reason.PAYLOAD_TOO_LARGE, Reason.SECRET_NOT_FOUND, Reason.ETAG_MISMATCH,
        Reason.REQUEST_ID_REUSED, Reason.SECRET_VERSION_DESTROYED, Reason.PROVIDER_NOT_FOUND,
        Reason.CREDENTIAL_LIMIT, Reason.PROVIDER_UNAVAILABLE, Reason.STATE_UNKNOWN,
        Reason.CLIENT_MISCONFIGURED, Reason.GRANT_REVOKED, Reason.REDIRECT_URI_MISMATCH,
        Reason.KEK_UNREACHABLE, Reason.STORE_UNREACHABLE, Reason.AUTHORIZATION_DENIED,
    }  # fmt: skip
    assert {reason.name for reason in wanted} <= reasons
    assert "INTERNAL" not in reasons


def test_places_are_all_there(evidence: Evidence) -> None:
    """What was searched has the data directory, its log of changes, the dump, the spool, debug
    logs, transit's storage and audit file, replies and processes: none is empty."""
    sizes: dict[str, int] = defaultdict(int)
    for place in evidence.places():
        for mark in (
            "base/", "pg_wal/", "dump.sql", "canary.log", "audit.log", "raft", ".spool", "replies",
            "processes",
        ):  # fmt: skip
            if mark in str(place):
                sizes[mark] += place.stat().st_size
    assert len(sizes) == 9
    assert min(sizes.values()) > 1_000
    dumped = (evidence.collected / "dump.sql").read_text()
    assert "COPY tokenvault.secret_versions" in dumped
    assert b"serve" in (evidence.collected / "processes").read_bytes()


@pytest.mark.parametrize("form", [name for name, _ in forms(b"x" * 51)])
def test_search_finds_what_is_there(evidence: Evidence, form: str) -> None:
    """A planted canary is found in each form, in the midst of other bytes."""
    planted = Canaries()
    canary = planted.mint("planted")
    written = dict(forms(canary.encode()))[form]
    file = evidence.scratch / "planted"
    file.write_bytes(secrets.token_bytes(70_000) + written + secrets.token_bytes(100))
    assert planted.search([file], evidence.scratch) != []
    file.write_bytes(secrets.token_bytes(70_000))
    assert planted.search([file], evidence.scratch) == []
    file.unlink()


def test_search_finds_a_row_and_a_process(evidence: Evidence) -> None:
    """What is written to a table in clear is found in the data directory, in the log of changes and
    in the dump; what stands in a command line or a variable, in the list of processes."""
    planted = Canaries()
    canary, variable = planted.mint("planted"), planted.mint("planted variable")
    vault = evidence.vault
    quoted = canary.replace("'", "''")
    vault.sql(f"CREATE TABLE planted AS SELECT '{quoted}'::text AS planted")
    vault.sql("CHECKPOINT", database="postgres")
    target = dump(vault, evidence.scratch / "planted.sql")
    with subprocess.Popen(
        [sys.executable, "-c", "input()", canary], stdin=subprocess.PIPE, env={"X": variable}
    ) as child:
        listed = processes([os.getpid()], evidence.scratch / "planted-processes")
        assert child.stdin is not None
        child.stdin.write(b"\n")
    places = [*files_under(Path(vault.data_directory)), target, listed]
    hits = planted.search(places, evidence.scratch)
    vault.sql("DROP TABLE planted")
    target.unlink()
    listed.unlink()
    for where in ("/base/", "/pg_wal/", "planted.sql", "planted-processes"):
        assert any(where in hit for hit in hits), where
    assert any("planted variable" in hit and "planted-processes" in hit for hit in hits)


def test_abort_leaves_no_core(evidence: Evidence) -> None:
    """A service that dies of SIGABRT with secrets in memory leaves no core, though the system was
    told to make one."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    with contextlib.suppress(ValueError):  # the hard limit may be lower
        resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        evidence.vault.serve("aborted")
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    child = evidence.vault.processes.pop("aborted")
    process = child._process
    assert process is not None
    process.send_signal(signal.SIGABRT)
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert ended.si_code == os.CLD_KILLED  # and not CLD_DUMPED
    assert process.wait(20) == -signal.SIGABRT
    cores = [path for path in evidence.places() if path.name.startswith("core")]
    here = list(Path.cwd().glob("core*"))
    assert (cores, here) == ([], [])


@pytest.mark.long
def test_no_canary_of_a_thousand_is_left() -> None:
    """The whole campaign: a thousand secrets."""
    with _campaign(_UNTIL_ENOUGH) as evidence:
        assert _minted(evidence.canaries) >= _ENOUGH
        _assert_nothing_left(evidence)
