"""Background work: loops that survive their steps, and readiness."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator

import pytest

from vault_service import telemetry
from vault_service.domain.errors import Reason, VaultError
from vault_service.telemetry.meters import LoopMeter
from vault_service.telemetry.metrics import Metrics
from vault_service.worker import loop_delay, readiness
from vault_service.worker.loop import every
from vault_service.worker.readiness import Readiness


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    telemetry.configure_logging("info", True, stream)
    yield stream
    telemetry.configure_logging("info", True)


def events(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_steps_that_fail_are_tried_again(lines: io.StringIO) -> None:
    """A refusal or a fault of one step is logged without its text, and the next step comes."""
    outcomes = iter([VaultError(Reason.STORE_UNREACHABLE, "x"), RuntimeError("canary"), None])
    done = asyncio.Event()

    async def step() -> None:
        outcome = next(outcomes, None)
        if outcome is None:
            done.set()
            return
        raise outcome

    task = asyncio.create_task(every("sweep", 0.0, step))
    await asyncio.wait_for(done.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    first, second = events(lines)
    assert (first["event"], first["reason"]) == ("step_failed", "STORE_UNREACHABLE")
    assert (second["event"], second["fault"]) == ("step_fault", "RuntimeError")
    assert "canary" not in lines.getvalue()


async def test_readiness(lines: io.StringIO) -> None:
    """Each dependency is asked, and what is down is published, with the reason logged once."""
    published: list[dict[str, bool]] = []
    faults: dict[str, Exception] = {}

    async def publish(up: dict[str, bool]) -> None:
        published.append(up)

    async def ask(name: str) -> None:
        if name in faults:
            raise faults[name]

    probes = {name: (lambda n=name: ask(n)) for name in ("database", "transit")}
    ready = Readiness(probes, publish)
    await ready.step()
    faults["transit"] = VaultError(Reason.KEK_UNREACHABLE, "transit is sealed")
    await ready.step()
    await ready.step()
    faults.clear()
    await ready.step()
    assert [up["transit"] for up in published] == [True, False, False, True]
    assert all(up["database"] for up in published)
    told = [(e["event"], e["dependency"]) for e in events(lines) if e.get("dependency")]
    assert told == [
        ("dependency_up", "database"),
        ("dependency_up", "transit"),
        ("dependency_down", "transit"),
        ("dependency_up", "transit"),
    ]


async def test_readiness_of_what_hangs(lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dependency that does not answer is down, and holds nothing else up."""
    monkeypatch.setattr(readiness, "_PROBE_LIMIT_S", 0.02)
    published: list[dict[str, bool]] = []

    async def publish(up: dict[str, bool]) -> None:
        published.append(up)

    async def hang() -> None:
        await asyncio.Event().wait()

    async def answer() -> None:
        return None

    await Readiness({"database": hang, "transit": answer}, publish).step()
    assert published == [{"database": False, "transit": True}]


async def test_readiness_as_codes(lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """What anybody may see of a dependency is a code: the texts, which may name hosts, are for the
    log."""
    monkeypatch.setattr(readiness, "_PROBE_LIMIT_S", 0.02)

    async def sealed() -> None:
        raise VaultError(Reason.KEK_UNREACHABLE, "canary.internal is sealed")

    async def missing() -> None:
        raise RuntimeError("canary")

    async def hang() -> None:
        await asyncio.Event().wait()

    async def publish(_: dict[str, bool]) -> None:
        return None

    async def well() -> None:
        return None

    probes = {"transit": sealed, "database": missing, "slow": hang, "good": well}
    ready = Readiness(probes, publish)
    assert set(ready.codes().values()) == {readiness.NOT_ASKED}
    await ready.step()
    assert ready.codes() == {
        "transit": "KEK_UNREACHABLE",
        "database": "RuntimeError",
        "slow": "TIMEOUT",
        "good": "",
    }


async def test_loop_delay_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds the loop up shows as a delay of its length."""
    monkeypatch.setattr(loop_delay, "_INTERVAL_S", 0.01)
    metrics = Metrics()
    task = asyncio.create_task(loop_delay.measure_loop_delay(LoopMeter(metrics)))
    await asyncio.sleep(0.001)
    time.sleep(0.3)  # noqa: ASYNC251  # the fault itself
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    told = metrics.render().decode()
    (total,) = [
        line for line in told.splitlines() if line.startswith("tokenvault_loop_delay_seconds_sum")
    ]
    assert float(total.split()[1]) >= 0.25
