"""Every command with --output json, errors as JSON, completion, colours, and what stays hidden."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.integration.test_spool_killed import holding
from tests.support.authserver import AuthServer
from tests.support.cli import run, run_json, wait_until_read
from tests.support.vault import RealVault
from vault_service.adapters.postgres import cursors
from vault_service.cli.app import Shape, commands
from vault_service.cli.main import app
from vault_service.embedded.machine import choose_port
from vault_service.embedded.settings_files import TENANT

_CANARY = "a-value-for-json"
SHAPES = {" ".join(command.path): command.shape for command in commands(app)}
# In this order: each row may use what rows before it made. {…} stand for files and ids.
ROWS: tuple[tuple[str, str], ...] = (
    ("migrate", "--config {admin}"),
    ("tenant create", "{tenant} --config {admin}"),
    ("serve", "--check --config {serve}"),
    ("doctor", "--config {serve}"),
    ("completion", "zsh"),
    ("policy check", "{policy}"),
    ("policy explain", "{policy} {tenant} spiffe://dev.tokenvault/auditor"),
    (
        "provider put",
        "{tenant} json --client {operator} --issuer {issuer} --subject-from response:sub "
        "--authorization-endpoint {issuer}/authorize --token-endpoint {issuer}/token",
    ),
    ("provider list", "{tenant} --client {operator}"),
    ("provider presets", ""),
    (
        "client put",
        "{tenant} json --client {operator} --provider json --client-id json "
        "--redirect-uri {redirect} --scope calendar --secret-file -",
    ),
    ("client list", "{tenant} --client {operator}"),
    ("client credential add", "{tenant} json --client {operator} --secret-file -"),
    ("client credential retire", "{tenant} json 1 --client {operator} --yes"),
    ("client suspend", "{tenant} json --client {operator} --yes"),
    ("client resume", "{tenant} json --client {operator}"),
    ("client hold list", "{tenant} --client {operator}"),
    ("client hold clear", "{tenant} json --client {operator} --why mended --yes"),
    (
        "grant start",
        "{tenant} json --client {operator} --owner json --redirect-uri {redirect} --label json",
    ),
    ("grant list", "{tenant} --client {operator} --owner json --state ACTIVE"),
    ("token get", "{tenant} --client {calendar-app} --grant {grant} --min-ttl-s 1"),
    ("grant watch", "{tenant} --client {operator} --owner json --cursor {cursor} --count 1"),
    ("token report", "{tenant} v1.made-up --client {calendar-app} --grant {grant}"),
    (
        "webhook put",
        "{tenant} json https://hooks.example.org/x --client {operator} "
        "--kind REVOKED --secret-file {webhook_secret}",
    ),
    ("webhook list", "{tenant} --client {operator}"),
    ("webhook redeliver", "{tenant} json --client {operator}"),
    ("webhook delete", "{tenant} json --client {operator} --yes"),
    ("grant alias link", "{tenant} other json {grant} --client {calendar-app}"),
    ("grant alias unlink", "{tenant} other json --client {calendar-app}"),
    ("grant revoke", "{tenant} {grant} --client {operator} --yes"),
    ("grant delete", "{tenant} {grant} --client {operator} --yes"),
    ("secret put", "{tenant} json --client {calendar-app} --owner json --file -"),
    ("secret get", "{tenant} json --client {calendar-app} --owner json"),
    ("secret list", "{tenant} --client {calendar-app} --owner json"),
    ("secret versions", "{tenant} json --client {calendar-app} --owner json"),
    ("secret destroy", "{tenant} json 1 --client {calendar-app} --owner json --yes"),
    ("secret delete", "{tenant} json --client {calendar-app} --owner json --yes"),
    ("audit list", "{tenant} --client {auditor} --most 5"),
    ("spool list", "--config {serve}"),
    ("spool replay", "--from {dead} --path {rescue}"),
    ("spool abandon", "0198c0de-0000-7000-8000-000000000000 --config {admin} --yes"),
)
_HOLD = (
    "INSERT INTO tokenvault.provider_budgets (tenant, oauth_client, held_until) "
    f"VALUES ('{TENANT}', 'json', now() + interval '1 hour') "
    "ON CONFLICT (tenant, oauth_client) DO UPDATE SET held_until = excluded.held_until"
)
# What takes long, or an endpoint that fails, has a test of its own, which looks at its JSON too.
ELSEWHERE = {
    "dev": "tests/integration/test_dev.py",
    "attempt list": "tests/integration/test_attempts.py",
    "attempt show": "tests/integration/test_attempts.py",
    "attempt resolve": "tests/integration/test_attempts.py",
    "webhook dead-letters": "tests/integration/test_webhooks.py",
}


@dataclass
class Stage:
    """What the rows need, and what they found."""

    names: dict[str, str]
    seen: dict[str, list[Any]] = field(default_factory=dict)

    def arguments(self, row: str, text: str) -> list[str]:
        """The words of a row with its names filled in."""
        filled = re.sub(r"\{([\w-]+)\}", lambda match: self.names[match[1]], text)
        return [*row.split(), *filled.split()]


@pytest.fixture(scope="module")
def provider(real_vault: RealVault) -> Iterator[AuthServer]:
    """An authorization server; consent is what the tests say it is."""
    with AuthServer(real_vault.ca) as server:
        server.add_client("json", _CANARY)
        yield server


@pytest.fixture(scope="module")
def stage(
    real_vault: RealVault, provider: AuthServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """A running process with its callers' files, and the spool of one that was killed."""
    spools = tmp_path_factory.mktemp("spools")
    (spools / "rescue").mkdir(mode=0o700)
    with holding(spools / "dead"):
        pass
    webhook_secret = spools / "webhook.secret"
    webhook_secret.write_text("whsec_" + "c2VjcmV0LW9mLWEtd2ViaG9vay1mb3ItanNvbg==")
    beginning = cursors.encode(cursors.Place(1, 0, datetime.now(UTC)))
    port = real_vault.serve("cli-json", [provider.host_port])
    files = real_vault.files["cli-json"]
    yield Stage(
        {name: str(path) for name, path in real_vault.client_files(port).items()}
        | {
            "tenant": TENANT,
            "webhook_secret": str(webhook_secret),
            "cursor": beginning,
            "admin": str(files.admin),
            "serve": str(files.serve),
            "policy": str(real_vault.directory / "policy.cedar"),
            "issuer": provider.issuer,
            "dead": str(spools / "dead"),
            "rescue": str(spools / "rescue"),
            "redirect": f"http://127.0.0.1:{choose_port()}/callback",
        }
    )
    real_vault.stop_process("cli-json")


def test_every_command_has_a_row() -> None:
    """A command without a row fails here, so that none is forgotten."""
    assert {name for name, _ in ROWS} | ELSEWHERE.keys() == SHAPES.keys()


@pytest.mark.parametrize(("name", "text"), ROWS, ids=[name for name, _ in ROWS])
def test_json_of_every_command(real_vault: RealVault, stage: Stage, name: str, text: str) -> None:
    """Each line is a JSON object with the fields of its shape, and nothing else is on stdout."""
    arguments = stage.arguments(name, text)
    if name == "client hold list":
        real_vault.sql(_HOLD)
    if name == "grant start":
        lines = _consent([*arguments, "--output", "json"])
    else:
        ended = run_json(*arguments, stdin=_CANARY)
        assert ended.status == 0, ended.err
        lines = ended.out.splitlines()
    found = [json.loads(line) for line in lines]
    _assert_shape(SHAPES[name], found)
    assert _CANARY not in "".join(lines)
    assert not re.search(r"[a-z][A-Z]", " ".join(key for one in found for key in one))
    stage.seen[name] = found
    if name == "grant start":
        stage.names["grant"] = found[1]["grant"]["name"].rpartition("/")[2]


def _consent(arguments: list[str]) -> list[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "vault_service", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as started:  # fmt: skip
        assert started.stdout is not None
        first = started.stdout.readline()
        asked = {key: values[0] for key, values in parse_qs(urlsplit(
            json.loads(first)["url"]).query).items()}  # fmt: skip
        back = {"state": asked["state"], "code": "json.1"}
        requests.get(asked["redirect_uri"], params=back, timeout=10)
        rest, err = started.communicate(timeout=30)
    assert started.returncode == 0, err
    return [first, *rest.splitlines()]


def _assert_shape(shape: Shape, found: list[Any]) -> None:
    if shape.list_name:
        (listing,) = found
        assert listing.keys() == {shape.list_name}
        assert listing[shape.list_name], "an empty list shows no shape"
        found, kinds = listing[shape.list_name], shape.kinds * len(listing[shape.list_name])
    else:
        kinds = shape.kinds
    for one, kind in zip(found, kinds, strict=True):
        fields = {each.name: each for each in dataclasses.fields(kind)}
        hidden = {name for name, each in fields.items() if not each.repr}
        assert one.keys() in (fields.keys(), fields.keys() - hidden)
        times = {key: value for key, value in one.items() if key.endswith("_time") and value}
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value) for value in times.values())


def test_secrets_only_with_show(stage: Stage) -> None:
    """Tokens and values are left out of JSON, and there with --show; a value is base64."""
    app_client = ("--client", stage.names["calendar-app"])
    run_json("secret", "put", TENANT, "shown", *app_client, "--owner", "j", "--file", "-",
             stdin="plain text")  # fmt: skip
    get = ("secret", "get", TENANT, "shown", *app_client, "--owner", "j")
    assert "value" not in run_json(*get).json
    assert run_json(*get, "--show").json["value"] == "cGxhaW4gdGV4dA=="


ERRORS: tuple[tuple[str, int, Mapping[str, str]], ...] = (
    ("grant list {tenant} --client {thief}", 1,
     {"reason": "CALLER_NOT_ALLOWED", "code": "PERMISSION_DENIED"}),
    ("secret get {tenant} none --client {calendar-app} --owner x", 1,
     {"reason": "SECRET_NOT_FOUND", "code": "NOT_FOUND"}),
    ("grant list {tenant} --client {nobody}", 1, {"code": "UNAVAILABLE"}),
    ("grant list No_Tenant --client {operator}", 2, {"reason": "NAME_MALFORMED"}),
    ("grant list {tenant} --client {missing}", 2, {"reason": "USAGE"}),
    ("grant list {tenant} --nonsense", 2, {"reason": "USAGE"}),
    ("grant list {tenant} --client {operator} --state HALF", 2, {"reason": "USAGE"}),
    ("grant revoke {tenant} 0198c0de-0000-7000-8000-000000000000 --client {operator}", 2,
     {"reason": "USAGE"}),
    ("secret put {tenant} x --client {operator}", 1, {"reason": "ABORTED"}),
    ("migrate --config {missing}", 78, {"reason": "CONFIGURATION_INVALID"}),
    ("tenant create No_Tenant --config {admin}", 1, {"reason": "NAME_MALFORMED"}),
)  # fmt: skip


@pytest.mark.parametrize(("text", "status", "wanted"), ERRORS, ids=[row[0] for row in ERRORS])
def test_errors_as_json(
    stage: Stage, real_vault: RealVault, tmp_path: Path, text: str, status: int,
    wanted: Mapping[str, str],
) -> None:  # fmt: skip
    """An error is one JSON object on stderr with reason and message; stdout stays empty."""
    nobody = tmp_path / "nobody.toml"
    nobody.write_text(
        re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{choose_port()}",
               Path(stage.names["operator"]).read_text()) + "timeout_s = 3.0\n"
    )  # fmt: skip
    names = stage.names | {"nobody": str(nobody), "missing": str(tmp_path / "none.toml")}
    ended = run_json(*Stage(names).arguments("", text))
    assert (ended.status, ended.out) == (status, ""), ended.err
    error = ended.error
    assert error.keys() == {"reason", "message", "code", "metadata", "retry_after_s", "request_id"}
    assert {key: error[key] for key in wanted} == wanted
    assert error["message"]
    if wanted.get("reason") == "CALLER_NOT_ALLOWED":
        assert error["request_id"]


def test_the_variable_asks_for_json_too(stage: Stage) -> None:
    """TOKENVAULT_OUTPUT=json is the same as the option, for errors of the arguments as well."""
    env = {"TOKENVAULT_OUTPUT": "json", "TOKENVAULT_CLIENT": stage.names["operator"]}
    assert "providers" in run("provider", "list", TENANT, env=env).json
    assert run("provider", "list", env=env).error["reason"] == "USAGE"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    """Each shell's script calls us back under our name; bash finds it well-formed."""
    script = run("completion", shell).out
    assert "tokenvault" in script
    assert f"complete_{shell}" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=10)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("tokenvault cli", {"client"}),
        ("tokenvault provider put acme google --refresh-class ", {"N", "M", "G", "S"}),
        ("tokenvault client put acme web --auth ", {"basic", "post", "none"}),
        ("tokenvault grant list acme --state RE", {"REAUTHORIZATION_REQUIRED", "REVOKED"}),
        ("tokenvault audit list acme --output ", {"text", "json"}),
        ("tokenvault secret d", {"destroy", "delete"}),
    ],
)
def test_completion_of_commands_and_values(words: str, offered: set[str]) -> None:
    """Commands and the values of closed vocabularies are offered, without asking a service."""
    program = Path(sys.executable).with_name("tokenvault")
    asked = {
        "_TOKENVAULT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [program], env=os.environ | asked, capture_output=True, text=True, timeout=30, check=True
    )
    assert set(done.stdout.split()) == offered


def _on_terminal(arguments: list[str], **env: str) -> bytes:
    """What the command writes when its output is a terminal."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    with subprocess.Popen(
        [sys.executable, "-m", "vault_service", *arguments],
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=kept | env,
    ):  # fmt: skip
        os.close(theirs)
        said = b""
        while chunk := _read(ours):
            said += chunk
    os.close(ours)
    return said


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4_096)
    except OSError:  # how a terminal ends
        return b""


def test_colours_only_on_a_terminal_that_wants_them(stage: Stage) -> None:
    """A terminal gets colours, NO_COLOR and a pipe get none; JSON never has any."""
    doctor = ["doctor", "--config", stage.names["serve"]]
    green = b"\x1b[32m"
    assert green in _on_terminal(doctor, TERM="xterm")
    assert green not in _on_terminal(doctor, TERM="xterm", NO_COLOR="1")
    assert b"\x1b" not in _on_terminal([*doctor, "--output", "json"], TERM="xterm")
    assert "\x1b" not in run(*doctor).out


def test_a_token_on_a_terminal_is_warned_of(stage: Stage) -> None:
    """--show to a terminal says that the value stays in its lines; a pipe gets it bare."""
    secret = ("--client", stage.names["calendar-app"], "--owner", "j")
    run("secret", "put", TENANT, "warned", *secret, "--file", "-", stdin="xyz")
    get = ["secret", "get", TENANT, "warned", *secret, "--show"]
    assert b"memory of lines" in _on_terminal(get)
    assert (run(*get).out, run(*get).err) == ("xyz", "")


def test_no_list_of_processes_shows_a_value(stage: Stage) -> None:
    """While `secret put` has its value, neither its arguments nor its environment hold it."""
    arguments = stage.arguments(
        "secret put", "{tenant} unseen --client {calendar-app} --owner j --file -"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "vault_service", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as put:  # fmt: skip
        assert put.stdin is not None
        put.stdin.write(_CANARY)
        put.stdin.flush()
        wait_until_read(put.stdin.fileno())
        seen = [Path(f"/proc/{put.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
        said, _ = put.communicate(timeout=30)
    assert put.returncode == 0, said
    assert not any(_CANARY.encode() in part for part in (*seen, said.encode()))
