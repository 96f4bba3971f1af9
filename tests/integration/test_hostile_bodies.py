"""Threat T13: bodies of a hostile provider cost bounded time and memory, and condemn no grant."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.fakes.hostile_bodies import ANSWERS, FAULTS, NO_ANSWER, NO_END
from tests.fakes.https_server import (
    Behaviour,
    DevCertificates,
    Request,
    make_certificates,
    reply,
    serve,
)
from vault_service.domain import limits

_GROWTH_MAX_BYTES = 16 * 1_048_576
_ROOT = Path(__file__).parents[2]
_BEHAVIOURS: dict[str, Behaviour] = {
    **FAULTS,
    **NO_ANSWER,
    **NO_END,
    **ANSWERS,
    "good": reply(b'{"access_token":"at","token_type":"Bearer"}'),
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> DevCertificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


async def _by_path(request: Request, writer: asyncio.StreamWriter) -> None:
    path = unquote(request.head.split(" ", 2)[1]).removeprefix("/")
    await _BEHAVIOURS[path](request, writer)


async def _measured(
    certificates: DevCertificates, names: Sequence[str], limit_s: float
) -> dict[str, dict[str, Any]]:
    """What four refreshes at a time did with each, in a process that did nothing else."""
    async with serve(_by_path, certificates) as server:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.provider_child",
            str(certificates.ca_file), str(server.port), str(limit_s), *names,
            cwd=_ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await child.communicate()
        assert child.returncode == 0
    reports = [json.loads(line) for line in output.splitlines()]
    return {report["name"]: report for report in reports}


def _check(reports: dict[str, dict[str, Any]], names: Sequence[str], answer_class: str) -> None:
    assert list(reports) == list(names)
    wrong = {name: r["classes"] for name, r in reports.items() if r["classes"] != [answer_class]}
    assert wrong == {}
    grown = {n: r["growth"] for n, r in reports.items() if r["growth"] > _GROWTH_MAX_BYTES}
    assert grown == {}
    # One process, one peak: the growth of all together.
    assert sum(report["growth"] for report in reports.values()) < _GROWTH_MAX_BYTES


def _check_never_ending(reports: dict[str, dict[str, Any]]) -> None:
    doubtful = {name: reports[name] for name in NO_ANSWER}
    _check(doubtful, list(NO_ANSWER), "IN_DOUBT")
    _check({name: reports[name] for name in NO_END}, list(NO_END), "UNREADABLE_SUCCESS")


async def test_bodies_that_are_refused(certificates: DevCertificates) -> None:
    """Endless, compressed, nested, ambiguous: each is refused at once, and all together grow
    the process by less than 16 MiB."""
    names = list(FAULTS)
    reports = await _measured(certificates, names, limit_s=10.0)
    _check(reports, names, "UNREADABLE_SUCCESS")
    assert max(report["seconds"] for report in reports.values()) < 8.0


async def test_answers_that_never_end(certificates: DevCertificates) -> None:
    """What drips or has no end is over at a bound or at the limit of time: in doubt without a
    status, and a success that cannot be read after one."""
    names = [*NO_ANSWER, *NO_END]
    reports = await _measured(certificates, names, limit_s=0.5)
    _check_never_ending(reports)
    assert max(report["seconds"] for report in reports.values()) < 3.0
    dripping = [reports[name]["seconds"] for name in names if name.startswith("slow drip")]
    assert min(dripping) >= 0.45


async def test_odd_answers_that_are_good(certificates: DevCertificates) -> None:
    """Small chunks and white space are no reason to lose a token."""
    names = list(ANSWERS)
    _check(await _measured(certificates, names, limit_s=10.0), names, "ANSWER")


@pytest.mark.long
@pytest.mark.timeout((len(NO_ANSWER) + len(NO_END)) * (limits.POST_LIMIT_S + 2) + 30)
async def test_answers_that_never_end_at_the_real_limit(certificates: DevCertificates) -> None:
    """The same with the limit of production: twenty seconds, however it drips."""
    names = [*NO_ANSWER, *NO_END]
    reports = await _measured(certificates, names, limit_s=limits.POST_LIMIT_S)
    _check_never_ending(reports)
    assert max(report["seconds"] for report in reports.values()) < limits.POST_LIMIT_S + 2
