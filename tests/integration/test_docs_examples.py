"""Every example in the documentation is run, page by page, on one deployment."""

from __future__ import annotations

import ast
import asyncio
import inspect
import itertools
import shutil
import tomllib
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.sources import ROOT
from tests.support.docs import LANGUAGES, Block, Shell, blocks, commands, pages
from tests.support.docs_deployment import DocsDeployment, docs_deployment
from tests.support.vault import RealVault
from vault_service.adapters.cedar import CedarPolicy

# Examples that this module does not run, by page and how they begin, and what runs them instead.
ELSEWHERE = {
    ("README.md", "make run"): "tests/integration/test_dev.py",
    ("CONTRIBUTING.md", "make run"): "tests/integration/test_dev.py",
    ("examples/calendar_service/README.md", "../.venv/bin/python"): (
        "tests/integration/test_example_calendar.py"
    ),
}
# Pages whose examples need servers of their own.
OTHER_PAGES = {
    "deploy/README.md": "tests/integration/test_deploy_readme.py",
    "docs/tutorial/first-grant.md": "tests/integration/test_dev.py",
}
PAGES = [
    page
    for page in pages()
    if page.relative_to(ROOT).as_posix() not in OTHER_PAGES
    and any(block.language in LANGUAGES - {"text"} for block in blocks(page))
]
# Programs of others that pages use; a machine without them runs the rest.
PROGRAMS = ("openssl",)


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def deployment(real_vault: RealVault) -> Iterator[DocsDeployment]:
    """The tenant acme, its callers, and a provider."""
    with docs_deployment(real_vault) as running:
        yield running


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_every_block_says_what_it_is(page: Path) -> None:
    """Each fenced block has one of the languages that this module knows how to run."""
    found = blocks(page)
    assert page.read_text().count("```") == 2 * len(found)
    assert [block for block in found if block.language not in LANGUAGES] == []


def test_exceptions_are_still_there() -> None:
    """What is said to run elsewhere is an example that exists, and so is what runs it."""
    there = [block for page in pages() for block in blocks(page)]
    for page, begin in ELSEWHERE:
        assert [one for one in there if one.page == page and one.text.startswith(begin)]
    assert all((ROOT / test).is_file() for test in (*OTHER_PAGES.values(), *ELSEWHERE.values()))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_examples(page: Path, deployment: DocsDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """All examples of a page work, one after another, as a reader would try them."""
    _skip_without_programs(page)
    folder = deployment.folder()
    monkeypatch.chdir(folder)
    shell, names = Shell(folder, deployment.env()), _names(page, deployment)
    python: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page):
        if _runs_elsewhere(block):
            continue
        if block.language == "console":
            _run_console(shell, block, names)
        elif block.language == "sh":
            done = shell.run(_filled(block.text, names))
            assert done.status == 0, f"{_place(block)}:\n{done.output}"
        elif block.language == "python":
            asyncio.run(_execute(block, python))
        elif block.language == "toml":
            assert tomllib.loads(block.text), _place(block)
        elif block.language == "sql":
            for statement in filter(str.strip, block.text.split(";")):
                deployment.vault.sql(statement)
        elif block.language == "cedar":
            CedarPolicy.parse(block.text, _place(block))
    if drive := DRIVERS.get(_name(page)):
        asyncio.run(drive(deployment, python))


def _runs_elsewhere(block: Block) -> bool:
    return any(block.page == page and block.text.startswith(begin) for page, begin in ELSEWHERE)


def _skip_without_programs(page: Path) -> None:
    text = "\n".join(block.text for block in blocks(page) if block.language in ("console", "sh"))
    for program in PROGRAMS:
        if program in text and shutil.which(program) is None:
            pytest.skip(f"{program} is not on this machine")


def _run_console(shell: Shell, block: Block, names: dict[str, str]) -> None:
    for command in commands(block):
        done = shell.run(_filled(command.text, names))
        said = f"{_place(block)}: $ {command.text}\n{done.output}"
        assert (done.status != 0) == command.fails, said
        missing = command.missing(_unfilled(done.output, names))
        assert not missing, f"{said}\nhas no: {missing}"


async def _execute(block: Block, namespace: dict[str, Any]) -> None:
    source = compile(block.text, _place(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    # An example that runs a loop of its own cannot have this one.
    if "asyncio.run(" in block.text:
        await asyncio.to_thread(exec, source, namespace)
        return
    result = eval(source, namespace)
    if inspect.isawaitable(result):
        await result


def _place(block: Block) -> str:
    return f"{block.page}:{block.line}"


def _filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text


def _unfilled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(value, name)
    return text


def _names(page: Path, deployment: DocsDeployment) -> dict[str, str]:
    """What stands in a page in capitals, for this reader."""
    names = {"vault.internal.example:8443": f"127.0.0.1:{deployment.port}"}
    if _name(page) == "docs/how-to/revoke-a-grant.md":
        grant = asyncio.run(deployment.consent("user-7"))
        names["GRANT_ID"] = grant.name.rpartition("/")[2]
    return names


_users = (f"user-docs-{number}" for number in itertools.count(1))
Drive = Callable[[DocsDeployment, dict[str, Any]], Coroutine[Any, Any, None]]


async def _connect(deployment: DocsDeployment, page: dict[str, Any]) -> None:
    """The two functions of connect-a-user.md are one consent, and refuse another session."""
    user = next(_users)
    async with deployment.client("client") as vault:
        started = await page["connect"](vault, user)
        query = {"state": started.state, "code": f"{user}.1"}
        with pytest.raises(PermissionError):
            await page["callback"](vault, user, "another", query)
        grant = await page["callback"](vault, user, started.state, query)
    assert grant.owner == user


async def _callback(deployment: DocsDeployment, page: dict[str, Any]) -> None:
    """The two functions of the client's README are one consent."""
    user = next(_users)
    async with deployment.client("client") as vault:
        started = await page["connect"](vault, user)
        query = {"state": started.state, "code": f"{user}.1"}
        assert (await page["callback"](vault, user, query)).owner == user


async def _consent_again(deployment: DocsDeployment, page: dict[str, Any]) -> None:
    """A scope that is covered brings a token, another one the URL of a consent for it."""
    async with deployment.client("client") as vault:
        token = await page["token_or_consent"](vault, "user-42", "calendar")
        url = await page["token_or_consent"](vault, "user-42", "mail")
    assert not token.startswith("https://")
    assert url.startswith(deployment.provider.issuer)
    assert "scope=mail" in url


DRIVERS: dict[str, Drive] = {
    "docs/how-to/connect-a-user.md": _connect,
    "clients/python/README.md": _callback,
    "docs/how-to/ask-for-consent-again.md": _consent_again,
}
