"""The configuration: bounds, unknown keys, plain-text transports, files that cannot be read."""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.rpc.client_pki import Authority
from vault_service.config import Config, ConfigInvalid, faults, load

CANARY = "canary-5c1e"
FILES = {
    "policy_file": "policy.cedar",
    "server.certificate_file": "server.pem",
    "server.key_file": "server.key",
    "server.client_ca_file": "callers.pem",
    "database.password_file": "app.password",
    "database.worker_password_file": "worker.password",
    "database.ca_file": "database.pem",
    "transit.ca_file": "transit.pem",
    "transit.role_id_file": "role-id",
    "transit.secret_id_file": "secret-id",
    "egress.ca_file": "providers.pem",
}
PLAIN = {
    "deployment": "prod",
    "server.trust_domains": ["example.org"],
    "database.host": "db.example",
    "transit.address": "https://transit.example:8200",
    "spool.path": "spool",
}


def written(folder: Path, **changes: Any) -> Path:
    """The file of a sound configuration with these changes, dots written as __; None leaves out."""
    values: dict[str, Any] = {**PLAIN, **FILES}
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    sections: dict[str, list[str]] = {"": []}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        if value is not None:
            sections.setdefault(section, []).append(f"{name} = {_toml(value)}")
    lines = list(sections.pop(""))
    for section, entries in sections.items():
        lines += [f"[{section}]", *entries]
    file = folder / "tokenvault.toml"
    file.write_text("\n".join(lines))
    return file


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value) if isinstance(value, int | float) else f'"{value}"'


@functools.cache
def certificates() -> dict[str, bytes]:
    """A CA, and a server's certificate with its key, for the fields that need them."""
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder), "ca")
        server = authority.server()
        ca = authority.ca_file.read_bytes()
        bundles = ("server.client_ca_file", "database.ca_file", "transit.ca_file", "egress.ca_file")
        return dict.fromkeys(bundles, ca) | {
            "server.certificate_file": server.certificate.read_bytes(),
            "server.key_file": server.key.read_bytes(),
        }


def configured(folder: Path, **changes: Any) -> Config:
    """A configuration whose files exist and hold what they should."""
    for key, name in FILES.items():
        (folder / name).write_bytes(certificates().get(key, b"x"))
    return load(written(folder, **changes))


def invalid(folder: Path, **changes: Any) -> str:
    """What is said about a configuration that cannot be used."""
    with pytest.raises(ConfigInvalid) as caught:
        load(written(folder, **changes))
    return str(caught.value)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine reaches a test."""
    for name in [name for name in os.environ if name.upper().startswith("TOKENVAULT_")]:
        monkeypatch.delenv(name)


def test_sound(tmp_path: Path) -> None:
    """A sound configuration has no faults, and the documented values where none were given."""
    config = configured(tmp_path)
    assert faults(config, serving=True) == []
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8443)
    assert (config.server.reflection, config.egress.allowed_private) == (False, ())
    assert (config.refresh.post_limit_s, config.refresh.lease_margin_s) == (20, 5)
    assert (config.database.user, config.database.port) == ("tokenvault_app", 5432)
    assert config.instance


def test_relative_paths(tmp_path: Path) -> None:
    """Paths in the file are relative to the file; absolute ones stay as they are."""
    config = configured(tmp_path, transit__ca_file="/etc/ssl/ca.pem")
    assert config.policy_file == tmp_path / "policy.cedar"
    assert config.spool.path == tmp_path / "spool"
    assert config.server.key_file == tmp_path / "server.key"
    assert config.transit.ca_file == Path("/etc/ssl/ca.pem")


def test_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable replaces what the file says, in nested sections too; the rest stays."""
    monkeypatch.setenv("TOKENVAULT_DEPLOYMENT", "staging")
    monkeypatch.setenv("TOKENVAULT_DATABASE__PORT", "6543")
    monkeypatch.setenv("TOKENVAULT_SERVER__TRUST_DOMAINS", '["a.example", "b.example"]')
    config = configured(tmp_path)
    assert (config.deployment, config.database.port) == ("staging", 6543)
    assert config.server.trust_domains == ("a.example", "b.example")
    assert config.database.host == "db.example"


def test_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file the variables are enough."""
    for key, value in {**PLAIN, **FILES}.items():
        text = '["example.org"]' if isinstance(value, list) else str(value)
        monkeypatch.setenv("TOKENVAULT_" + key.replace(".", "__").upper(), text)
    assert load(None).database.host == "db.example"


def test_nothing_given() -> None:
    """Each field that is missing has a line of its own."""
    with pytest.raises(ConfigInvalid) as caught:
        load(None)
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "deployment",
        "policy_file",
        "server",
        "database",
        "transit",
    ]


_BOUNDS: list[tuple[str, Any, Any, list[Any]]] = [
    ("deployment", "a", "a" + "0" * 62, ["", "A", "1a", "a" * 64, "a b", "a\\n"]),
    ("instance", "x", "x" * 128, ["x" * 129]),
    ("server__port", 0, 65_535, [-1, 65_536, "http"]),
    ("server__trust_domains", ["a"], ["a"] * 20, [[], ["a"] * 21, ["A"], ["a/b"], ["a" * 256]]),
    ("server__reflection", False, True, ["maybe"]),
    ("database__port", 1, 65_535, [0, 65_536]),
    ("database__pool_size", 1, 200, [0, 201, 1.5]),
    ("database__statement_limit_s", 0.1, 60, [0.09, 61, "nan"]),
    ("transit__address", "https://a", "https://a:8200", ["http://a", "a", "https://a b", ""]),
    ("transit__key_prefix", "a", "tokenvault-", ["", "-a", "A"]),
    (
        "egress__allowed_private",
        ["10.0.0.1:443"],
        ["[::1]:1"] * 50,
        [["10.0.0.1"], ["a/b:1"], ["u@h:1"], ["h:1"] * 51],
    ),
    ("dek_cache__soft_life_s", 1, 3_600, [0.5, 3_601]),
    ("dek_cache__hard_life_s", 300, 86_400, [0, 86_401]),
    ("dek_cache__entries_max", 10, 50_000, [9, 50_001]),
    ("spool__slots", 16, 4_096, [15, 4_097, "many"]),
    ("scheduler__in_use_s", 0, 31_536_000, [-1, 31_536_001, "day"]),
    ("scheduler__batch", 1, 1_000, [0, 1_001, 1.5]),
    ("scheduler__parallel", 1, 256, [0, 257]),
    ("scheduler__rate_per_s", 0.1, 10_000, [0, 10_001]),
    ("scheduler__enabled", False, True, ["perhaps", 2]),
    ("refresh__post_limit_s", 1, 20, [0.9, 20.1, "inf"]),
    ("refresh__lease_margin_s", 0.5, 30, [0.4, 31, "nan"]),
    ("refresh__spool_wait_s", 10, 86_400, [9, 86_401]),
    ("log__level", "debug", "error", ["trace", "INFO"]),
    ("server__drain_notice_s", 0, 60, [-1, 61, "nan"]),
    ("metrics__port", 0, 65_535, [-1, 65_536, "http"]),
    (
        "traces__otlp_endpoint",
        "http://localhost/v1/traces",
        "https://a.example:4318/x/v1/traces",
        [
            "localhost:4318",
            "grpc://a/v1/traces",
            "https://u:p@a/v1/traces",
            "https://a",
            "https://a/x?k=v",
        ],
    ),
    ("traces__sampling_ratio", 0, 1, [-0.1, 1.1, "nan"]),
]


@pytest.mark.parametrize(("key", "least", "most", "outside"), _BOUNDS, ids=lambda v: str(v)[:24])
def test_bounds(tmp_path: Path, key: str, least: Any, most: Any, outside: list[Any]) -> None:
    """Each field takes its bounds and refuses what lies beyond them, naming the field."""
    for value in (least, most):
        assert configured(tmp_path, **{key: value})
    for value in outside:
        assert key.replace("__", ".") in invalid(tmp_path, **{key: value}), value


@pytest.mark.parametrize(
    "key", ["databse__host", "server__prot", "database__password", "log__file", "extra"]
)
def test_unknown_keys(tmp_path: Path, key: str) -> None:
    """A key that is not known is refused by its name: a typo never goes unnoticed."""
    text = invalid(tmp_path, **{key: CANARY})
    assert key.replace("__", ".").partition(".")[0] in text
    assert CANARY not in text


def test_unknown_variable_in_a_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of a known section with an unknown field is refused."""
    monkeypatch.setenv("TOKENVAULT_DATABASE__HOTS", CANARY)
    text = invalid(tmp_path)
    assert "database.hots" in text
    assert CANARY not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENVAULT_SERVER__TRUST_DOMAINS", CANARY),
        ("TOKENVAULT_SERVER", CANARY),
        ("TOKENVAULT_DATABASE", f'{{"host": "{CANARY}"'),
        ("TOKENVAULT_SERVER__PORT", CANARY),
        ("TOKENVAULT_TRANSIT__ADDRESS", f"http://user:{CANARY}@transit"),
        ("TOKENVAULT_DEPLOYMENT", CANARY.upper()),
    ],
)
def test_unusable_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A variable that cannot be read is wrong configuration, told without its value."""
    monkeypatch.setenv(name, value)
    text = invalid(tmp_path)
    assert name.removeprefix("TOKENVAULT_").partition("__")[0].lower() in text
    assert CANARY.lower() not in text.lower()


@pytest.mark.parametrize("key", [key for key in {**PLAIN, **FILES} if "trust" not in key])
def test_no_value_in_a_text(tmp_path: Path, key: str) -> None:
    """Whatever field is of the wrong kind, what was given is not repeated."""
    text = invalid(tmp_path, **{key.replace(".", "__"): [CANARY]})
    assert key in text
    assert CANARY not in text


@pytest.mark.parametrize(
    "text", [CANARY, f'a = "{CANARY}', f"a = {CANARY}", f"[{CANARY}", "\x00", "a = 1\na = 2"]
)
def test_not_toml(tmp_path: Path, text: str) -> None:
    """A file that is not TOML is refused by its name, without its content."""
    file = tmp_path / "broken.toml"
    file.write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        load(file)
    assert str(file) in str(caught.value)
    assert CANARY not in str(caught.value)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder and a file that is no text are refused by their names."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    for file in (tmp_path / "missing.toml", tmp_path, binary):
        with pytest.raises(ConfigInvalid) as caught:
            load(file)
        assert str(file) in str(caught.value)


def test_plain_text_database(tmp_path: Path) -> None:
    """A database host is reached by TLS verify-full only; a socket needs no CA."""
    config = configured(tmp_path, database__ca_file=None)
    (fault,) = faults(config, serving=True)
    assert fault.startswith("database.ca_file: is needed")
    socket = configured(tmp_path, database__ca_file=None, database__host="/run/postgresql")
    assert faults(socket, serving=True) == []


def test_each_unreadable_file_is_named(tmp_path: Path) -> None:
    """Missing, empty, a folder: each file that cannot be used has its line, with its path."""
    config = configured(tmp_path)
    for name in FILES.values():
        (tmp_path / name).unlink()
    (tmp_path / "server.key").mkdir()
    (tmp_path / "role-id").write_text("")
    found = faults(config, serving=True)
    assert {line.partition(":")[0] for line in found} == set(FILES)
    for key, name in FILES.items():
        assert any(line.startswith(f"{key}: {tmp_path / name} ") for line in found)
    assert any("server.key cannot be read: Is a directory" in line for line in found)
    assert any("role-id is empty" in line for line in found)


@pytest.mark.parametrize("key", [key for key in FILES if key.endswith("ca_file")])
def test_no_certificate(tmp_path: Path, key: str) -> None:
    """A bundle that holds no certificate is found before anything connects."""
    config = configured(tmp_path)
    (tmp_path / FILES[key]).write_text(CANARY)
    (fault,) = faults(config, serving=True)
    assert fault.startswith(f"{key}: ")
    assert CANARY not in fault


@pytest.mark.parametrize("key", ["server.certificate_file", "server.key_file"])
def test_key_of_another_certificate(tmp_path: Path, key: str) -> None:
    """A key that does not belong to the certificate is found before the service listens."""
    config = configured(tmp_path)
    other = Authority(tmp_path, "other").server()
    found = other.key if key == "server.key_file" else other.certificate
    (tmp_path / FILES[key]).write_bytes(found.read_bytes())
    (fault,) = faults(config, serving=True)
    assert fault.startswith("server.key_file: ")


def test_admin_needs_less(tmp_path: Path) -> None:
    """What does not serve needs neither the server's files, nor a policy, nor the worker."""
    config = configured(tmp_path, database__worker_password_file=None, spool__path=None)
    for name in ("server.pem", "server.key", "callers.pem", "policy.cedar"):
        (tmp_path / name).unlink()
    assert faults(config, serving=False) == []
    found = faults(config, serving=True)
    assert "database.worker_password_file: is needed to serve" in found
    assert "spool.path: is needed to serve" in found
    assert len(found) == 6


@pytest.mark.parametrize("pasted", [f"-----BEGIN KEY-----\\n{CANARY}\\n", CANARY * 50, "a\\u0000b"])
def test_a_secret_where_a_path_belongs(tmp_path: Path, pasted: str) -> None:
    """A key pasted into the place of its path is a fault that does not repeat it."""
    config = configured(tmp_path, transit__secret_id_file=pasted)
    (fault,) = faults(config, serving=True)
    assert fault.startswith("transit.secret_id_file: its value cannot be read")
    assert CANARY not in fault


def test_cache_lives(tmp_path: Path) -> None:
    """A hard life below the soft one, jitter included, is a fault."""
    short = configured(tmp_path, dek_cache__soft_life_s=100, dek_cache__hard_life_s=119)
    (fault,) = faults(short, serving=True)
    assert fault.startswith("dek_cache.hard_life_s: is less than")
    enough = configured(tmp_path, dek_cache__soft_life_s=100, dek_cache__hard_life_s=120)
    assert faults(enough, serving=True) == []


def test_nobody_gives_up_a_spool_before_its_lease_ends(tmp_path: Path) -> None:
    """The wait for a spool is not shorter than a lease."""
    times = {"refresh__post_limit_s": 10, "refresh__lease_margin_s": 5}
    (fault,) = faults(configured(tmp_path, **times, refresh__spool_wait_s=14), serving=True)
    assert fault.startswith("refresh.spool_wait_s: is less than")
    enough = configured(tmp_path, **times, refresh__spool_wait_s=15)
    assert faults(enough, serving=True) == []


def test_frozen(tmp_path: Path) -> None:
    """A loaded configuration does not change."""
    config = configured(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        config.server.port = 1


def test_fields_are_documented() -> None:
    """Every field says what it is for; numbers say their bounds."""
    sections = [Config, *(f.annotation for f in Config.model_fields.values())]
    for section in sections:
        for name, field in getattr(section, "model_fields", {}).items():
            nested = hasattr(field.annotation, "model_fields")
            assert nested or field.description, name


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable that sets no field is an error that names it, not a setting that is lost."""
    monkeypatch.setenv("TOKENVAULT_DEPLOYMNT", CANARY)
    with pytest.raises(ConfigInvalid) as refused:
        load(None)
    assert "TOKENVAULT_DEPLOYMNT sets no field" in str(refused.value)
    assert CANARY not in str(refused.value)
