"""Look-ups in threads of their own; a name server that is silent is an Event that nobody sets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from vault_service.domain import limits
from vault_service.domain.on_behalf import TENANT
from vault_service.egress.lookups import Lookups


class Names:
    """Names that begin with "silent" are answered when ``answer`` is set."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host.startswith("silent"):
            self.answer.wait()
        if host.endswith(".invalid"):
            raise OSError("no such name")
        return ["192.0.2.1"]


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    made = Names()
    yield made
    made.answer.set()


async def silent(lookups: Lookups, count: int) -> list[asyncio.Task[Sequence[str]]]:
    """Look-ups that hang, all begun."""
    tasks = [asyncio.create_task(lookups(f"silent-{number}", 443)) for number in range(count)]
    await asyncio.sleep(0)
    return tasks


async def end(names: Names, tasks: list[asyncio.Task[Sequence[str]]]) -> None:
    names.answer.set()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("count", [8, 64])
async def test_silent_names_stop_no_other(names: Names, count: int) -> None:
    """While as many names hang, an unrelated one is resolved; the loop's own threads are free."""
    lookups = Lookups(names)
    tasks = await silent(lookups, count)
    assert await lookups("provider.example", 443) == ["192.0.2.1"]
    assert lookups.running == count
    assert await asyncio.to_thread(lambda: "free") == "free"
    await end(names, tasks)


async def test_a_tenant_has_a_share_of_threads(names: Names) -> None:
    """One tenant's silent names leave threads for another tenant's new names, and for every name
    that was resolved before."""
    lookups = Lookups(names)
    await lookups("known.example", 443)
    TENANT.set("greedy")
    tasks = await silent(lookups, limits.LOOKUPS_MAX)
    assert lookups.running < limits.LOOKUPS_MAX // 2
    with pytest.raises(OSError, match="cannot be looked up now"):
        await lookups("one-more.example", 443)
    assert await lookups("known.example", 443) == ["192.0.2.1"]
    TENANT.set("other")
    assert await lookups("new.example", 443) == ["192.0.2.1"]
    await end(names, tasks)


async def test_names_that_were_resolved_before_have_a_share_too(names: Names) -> None:
    """One tenant whose many names all answered once and are silent now holds half of the threads:
    another tenant's names, old and new, are resolved."""
    lookups = Lookups(names)
    await lookups("known.example", 443)
    names.answer.set()
    for number in range(limits.LOOKUPS_MAX):
        await lookups(f"silent-{number}", 443)
    names.answer.clear()
    TENANT.set("greedy")
    tasks = await silent(lookups, limits.LOOKUPS_MAX)
    assert lookups.running == limits.LOOKUPS_MAX // 2
    TENANT.set("other")
    assert await lookups("known.example", 443) == ["192.0.2.1"]
    assert await lookups("new.example", 443) == ["192.0.2.1"]
    await end(names, tasks)


async def test_one_name_has_one_thread(names: Names) -> None:
    """Callers that look up the same name at the same time share one thread."""
    lookups = Lookups(names)
    tasks = [asyncio.create_task(lookups("silent", 443)) for _ in range(50)]
    await asyncio.sleep(0)
    assert lookups.running == 1
    names.answer.set()
    assert await asyncio.gather(*tasks) == [["192.0.2.1"]] * 50
    assert names.asked == ["silent"]


async def test_a_silent_name_is_not_waited_for_twice(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its limit a look-up fails; until its thread ends, the name is refused at once."""
    monkeypatch.setattr(limits, "LOOKUP_LIMIT_S", 0.01)
    lookups = Lookups(names)
    with pytest.raises(OSError, match="does not answer"):
        await lookups("silent", 443)
    monkeypatch.setattr(limits, "LOOKUP_SILENT_S", 0.0)
    for _ in range(3):
        with pytest.raises(OSError, match="now"):
            await lookups("silent", 443)
    assert (names.asked, lookups.running, lookups.refused) == (["silent"], 1, 3)
    names.answer.set()
    while lookups.running:
        await asyncio.sleep(0)
    monkeypatch.setattr(limits, "LOOKUP_LIMIT_S", 60.0)
    assert await lookups("silent", 443) == ["192.0.2.1"]


async def test_names_that_do_not_exist(names: Names) -> None:
    """What the system says is passed on, and the next look-up asks again."""
    lookups = Lookups(names)
    for _ in range(2):
        with pytest.raises(OSError, match="no such name"):
            await lookups("gone.invalid", 443)
    assert names.asked == ["gone.invalid"] * 2
    with pytest.raises(OSError, match="UnicodeError"):
        await Lookups()("x" * 300, 443)


async def test_a_system_without_threads(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up whose thread cannot be made fails at once and leaves nothing behind."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    lookups = Lookups(names)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for _ in range(limits.LOOKUPS_MAX):
            with pytest.raises(OSError, match="no thread"):
                await lookups("provider.example", 443)
    assert (lookups.running, lookups.refused) == (0, limits.LOOKUPS_MAX)
    assert await lookups("provider.example", 443) == ["192.0.2.1"]
