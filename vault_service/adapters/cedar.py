"""ports.Policy on Cedar: one reviewed file, validated as a whole before it is in force.

Cedar skips a ``forbid`` whose evaluation errors and goes on to answer Allow. So here any error
in the diagnostics is a denial, as is everything that Cedar cannot decide.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import cedarpy

from vault_service.domain import limits
from vault_service.domain.access import Caller, Decision, Permission, Resource, ResourceKind

DEFAULT_DENY: Final = "default-deny"
POLICY_ERROR: Final = "policy-error"

_HASH_CHARS: Final = 16
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,62}")
_TENANT: Final = re.compile(r"[a-z][a-z0-9-]{0,%d}" % (limits.ID_MAX_CHARS - 1))
_CALLER: Final = re.compile(r"spiffe://[a-z0-9._-]+/[A-Za-z0-9._/-]+")
_RESERVED: Final = frozenset({DEFAULT_DENY, POLICY_ERROR})
_BRACKET: Final = re.compile(r"[][(){}]")
_OPERATOR: Final = re.compile(r"&&|\|\||[-+*.!]|\bif\b")
_TOO_DEEP: Final = (
    "condition is too large; write several policies, or a set: principal in [...], "
    '["a", "b"].contains(...)'
)
_APPLIES: Final = re.compile(
    r"action ([\w,\s]+?)\s+appliesTo \{ principal: Caller, resource: (\w+) \}"
)
_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|;|\n|[^"/;\n]+|.', re.DOTALL)


class PolicyInvalid(ValueError):
    """A policy file is refused; the message names the file, and the line or the policy."""


class CedarPolicy:
    """Decisions by one policy text. No input or output after it was made; never raises."""

    def __init__(
        self,
        policies: cedarpy.PolicySet,
        schema: cedarpy.Schema,
        version: str,
        rules: tuple[str, ...],
    ) -> None:
        """Use ``load`` or ``parse``: they check what they are given."""
        self._policies = policies
        self._schema = schema
        self._version = version
        self._rules = rules
        self._cached = lru_cache(maxsize=limits.DECISION_CACHE_MAX)(self._evaluate)

    @classmethod
    def load(cls, path: Path) -> CedarPolicy:
        """The policy in a file of at most 1 MiB; raises ``PolicyInvalid``."""
        try:
            with path.open("rb") as file:
                content = file.read(limits.POLICY_MAX_BYTES + 1)
        except OSError as error:
            raise PolicyInvalid(f"{path}: cannot be read: {error.strerror}") from error
        if len(content) > limits.POLICY_MAX_BYTES:
            raise PolicyInvalid(f"{path}: is over {limits.POLICY_MAX_BYTES} bytes")
        try:
            return cls.parse(content.decode("utf-8"), str(path))
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise PolicyInvalid(f"{path}, line {line}: is not UTF-8") from error

    @classmethod
    def parse(cls, text: str, name: str) -> CedarPolicy:
        """The policy in a text; ``name`` stands in messages. Raises ``PolicyInvalid``.

        Checked: no hidden characters, syntax, the schema in strict mode, no templates, and a
        unique ``@id`` on each policy, which becomes its policy id.
        """
        schema_text = _schema_text()
        schema = cedarpy.Schema.from_str(schema_text)
        _refuse_hidden_characters(text, name)
        _refuse_deep(text, name)
        named = _named_policies(text, name)
        _validate(text, schema, name, list(named))
        rules = {"staticPolicies": named, "templates": {}, "templateLinks": []}
        digest = hashlib.sha256(text.encode() + b"\0" + schema_text.encode()).hexdigest()
        try:
            policies = cedarpy.PolicySet.from_json_str(json.dumps(rules))
        except ValueError as error:
            # Conditions of some sixty terms: the engine nests each term in the one before.
            raise PolicyInvalid(f"{name}: a {_TOO_DEEP}") from error
        return cls(
            policies,
            schema,
            f"sha256:{digest[:_HASH_CHARS]}",
            tuple(named),
        )

    @property
    def version(self) -> str:
        """``sha256:`` and 16 hexadecimal digits over policy and schema."""
        return self._version

    def remembered(self) -> tuple[int, int, int, int]:
        """Hits, misses, evictions and entries of the remembered decisions."""
        hits, misses, _, entries = self._cached.cache_info()
        return hits, misses, misses - entries, entries

    @property
    def rules(self) -> tuple[str, ...]:
        """The ``@id`` of each policy, in the order of the text."""
        return self._rules

    def decide(self, caller: Caller, permission: Permission, resource: Resource) -> Decision:
        """Default deny. Decisions are remembered by everything they depend on."""
        try:
            allowed, rule = self._cached(caller.spiffe_id, permission, resource)
        except Exception:
            allowed, rule = False, POLICY_ERROR
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # how a Rust panic arrives
                raise
            allowed, rule = False, POLICY_ERROR
        return Decision(allowed, rule, self._version)

    def _evaluate(
        self, spiffe_id: str, permission: Permission, resource: Resource
    ) -> tuple[bool, str]:
        principal, target, entities = _entities(spiffe_id, resource)
        request = {
            "principal": principal,
            "action": {"type": "Action", "id": permission.value},
            "resource": target,
        }
        result = cedarpy.is_authorized(request, self._policies, entities, self._schema)
        undecided = result.decision is cedarpy.Decision.NoDecision
        if undecided or result.diagnostics.errors:
            return False, POLICY_ERROR
        rule = min(result.diagnostics.reasons, default=DEFAULT_DENY)
        return result.decision is cedarpy.Decision.Allow, rule


def resource_kinds() -> Mapping[Permission, ResourceKind]:
    """What each permission is asked about, as the schema has it."""
    return {
        Permission(action.strip()): ResourceKind(kind)
        for actions, kind in _APPLIES.findall(_schema_text())
        for action in actions.split(",")
    }


def _schema_text() -> str:
    return files(__package__).joinpath("policy.cedarschema").read_text("utf-8")


def _entities(
    spiffe_id: str, resource: Resource
) -> tuple[dict[str, str], dict[str, str], list[dict[str, Any]]]:
    """The caller's and the resource's references, and the entities they stand for."""
    parts = urlsplit(spiffe_id)
    if parts.scheme != "spiffe" or not parts.netloc:
        raise ValueError("a caller's id is spiffe://trust-domain/path")
    caller = {"type": "Caller", "id": spiffe_id}
    tenant = {"type": ResourceKind.TENANT.value, "id": resource.tenant}
    entities: list[dict[str, Any]] = [
        {
            "uid": caller,
            "attrs": {"trust_domain": parts.netloc, "path": parts.path},
            "parents": [],
        },
        {"uid": tenant, "attrs": {}, "parents": []},
    ]
    if resource.kind is ResourceKind.TENANT:
        return caller, tenant, entities
    target = {"type": resource.kind.value, "id": resource.id}
    attributes = {
        "tenant": resource.tenant,
        "level": resource.level.name,
        "owner": resource.owner,
        "provider": resource.provider,
        "oauth_client": resource.oauth_client,
        "label": resource.label,
        "scopes": sorted(resource.scopes),
    }
    entities.append({"uid": target, "attrs": attributes, "parents": [tenant]})
    return caller, target, entities


def _refuse_hidden_characters(text: str, name: str) -> None:
    """A reviewer must see what Cedar reads: no control or direction-changing characters."""
    for number, line in enumerate(text.split("\n"), start=1):
        for char in line.rstrip("\r").replace("\t", " "):
            if unicodedata.category(char) in ("Cc", "Cf"):
                raise PolicyInvalid(f"{name}, line {number}: hidden character U+{ord(char):04X}")


def _refuse_deep(text: str, name: str) -> None:
    """Cedar's parser calls itself for each bracket and operator: some thousand end the process."""
    for line, statement in _statements(text):
        bare = "".join(t for t in _TOKEN.findall(statement) if t[0] != '"' and t[:2] != "//")
        depth = deepest = 0
        for bracket in _BRACKET.findall(bare):
            depth += 1 if bracket in "([{" else -1
            deepest = max(deepest, depth)
        operators = len(_OPERATOR.findall(bare))
        if deepest > limits.POLICY_DEPTH_MAX or operators > limits.POLICY_OPERATORS_MAX:
            raise PolicyInvalid(f"{name}, in the policy at line {line}: a {_TOO_DEEP}")


def _named_policies(text: str, name: str) -> Mapping[str, Any]:
    """The policies in Cedar's JSON form by their ``@id``, in the order of the text."""
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        raise PolicyInvalid(f"{_place_of_syntax_error(text, name)}: {error}") from error
    lines = [line for line, _ in _statements(text)]
    named: dict[str, Any] = {}
    found = parsed["staticPolicies"] | parsed["templates"]
    for position in sorted(found, key=lambda key: int(key.removeprefix("policy"))):
        place = f"{name}, line {lines[int(position.removeprefix('policy'))]}"
        if position in parsed["templates"]:
            raise PolicyInvalid(f"{place}: templates (?principal, ?resource) are not supported")
        policy = found[position]
        policy_id = policy.get("annotations", {}).get("id")
        if not policy_id or not _ID.fullmatch(policy_id) or policy_id in _RESERVED:
            raise PolicyInvalid(
                f"{place}: every policy has an @id of letters, digits and ._:- (at most 63, not "
                f'{" or ".join(sorted(_RESERVED))}), like @id("billing-reads-calendar")'
            )
        if policy_id in named:
            raise PolicyInvalid(f'{place}: @id("{policy_id}") is used twice')
        _refuse_names_that_never_match(policy, f'{place}, @id("{policy_id}")')
        named[policy_id] = policy
    return named


def _refuse_names_that_never_match(node: Any, place: str) -> None:
    """The schema knows types, not ids: Tenant::"tenants/acme" would silently never match."""
    if isinstance(node, list):
        for inner in node:
            _refuse_names_that_never_match(inner, place)
    if not isinstance(node, dict):
        return
    kind, name = node.get("type"), node.get("id")
    if kind == "Tenant" and isinstance(name, str) and not _TENANT.fullmatch(name):
        raise PolicyInvalid(f'{place}: a tenant is written like Tenant::"acme", not {name!r}')
    if kind == "Caller" and isinstance(name, str) and not _CALLER.fullmatch(name):
        raise PolicyInvalid(
            f'{place}: a caller is written like Caller::"spiffe://prod.example/app", not {name!r}'
        )
    for inner in node.values():
        _refuse_names_that_never_match(inner, place)


def _validate(text: str, schema: cedarpy.Schema, name: str, ids: list[str]) -> None:
    result = cedarpy.validate_policies(text, schema)
    if result.validation_passed:
        return
    lines = [line for line, _ in _statements(text)]
    complaints = []
    for error in result.errors:
        position = int(error.policy_id.removeprefix("policy"))
        plain = error.error.removeprefix(f"for policy `{error.policy_id}`, ")
        complaints.append(f'{name}, line {lines[position]}, @id("{ids[position]}"): {plain}')
    raise PolicyInvalid("\n".join(complaints) or f"{name}: does not fit the schema")


def _place_of_syntax_error(text: str, name: str) -> str:
    """Cedar's syntax errors name no place; the first statement that fails alone has it."""
    for line, statement in _statements(text):
        try:
            cedarpy.policies_to_json_str(statement)
        except ValueError:
            return f"{name}, in the policy at line {line}"
    return name


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each statement with the line it starts at; ``;`` in strings and comments ends none."""
    line, start, statement = 1, 0, ""
    for token in _TOKEN.findall(text):
        if not statement and (not token.strip() or token.startswith("//")):
            line += token.count("\n")
            continue
        if not statement:
            start = line
        statement += token
        line += token.count("\n")
        if token == ";":
            yield start, statement
            statement = ""
    if statement.strip():
        yield start, statement
