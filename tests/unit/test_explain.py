"""What a policy says of a caller, asked without a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_service.adapters.cedar import POLICY_ERROR, PolicyInvalid, resource_kinds
from vault_service.app.explain import Question, explain, rules_of
from vault_service.domain.access import Permission

APP = "spiffe://prod.example/acme/app"
EXAMPLE = Path(__file__).parents[2] / "deploy" / "policy.example.cedar"


def test_every_permission_has_its_kind_of_resource(tmp_path: Path) -> None:
    """The schema says of each permission what it is asked about; a policy that permits all permits
    each of them, so no question is one that the schema refuses."""
    assert resource_kinds().keys() == set(Permission)
    everything = tmp_path / "all.cedar"
    everything.write_text('@id("all")\npermit (principal, action, resource);\n')
    rulings = explain(everything, Question(APP, "acme"))
    assert {ruling.permission for ruling in rulings} == {one.value for one in Permission}
    assert {(ruling.allowed, ruling.rule) for ruling in rulings} == {(True, "all")}


def test_rulings_of_the_example_policy() -> None:
    """Levels, scopes and names count: the application has its users' secrets and one of its own."""

    def allowed(caller: str, **asked: object) -> dict[str, str]:
        question = Question(caller, "acme", **asked)  # type: ignore[arg-type]  # names of fields
        rulings = explain(EXAMPLE, question)
        assert POLICY_ERROR not in {ruling.rule for ruling in rulings}
        return {ruling.permission: ruling.rule for ruling in rulings if ruling.allowed}

    assert "PutSecret" in allowed(APP, owner="u-1")
    assert "GetSecretValue" not in allowed(APP, secret="other")
    own = allowed(APP, secret="smtp-password")
    assert own["GetSecretValue"] == "acme-app-reads-one-secret-of-its-own"
    reports = "spiffe://prod.example/acme/reports"
    assert "GetAccessToken" in allowed(reports, provider="google", scopes=("openid",))
    assert "GetAccessToken" not in allowed(reports, provider="google", scopes=("email",))
    assert "GetAccessToken" not in allowed(reports, provider="slack", scopes=("openid",))
    assert allowed("spiffe://elsewhere.example/acme/app", owner="u-1") == {}


def test_rules_and_refusals(tmp_path: Path) -> None:
    """A valid policy has a version and its rules' ids; another one is refused with its line."""
    version, rules = rules_of(EXAMPLE)
    assert version.startswith("sha256:")
    assert rules[0] == "acme-app-uses-its-tenant"
    bad = tmp_path / "bad.cedar"
    bad.write_text("permit (principal, action, resource);\n")
    with pytest.raises(PolicyInvalid, match="line 1"):
        explain(bad, Question(APP, "acme"))
