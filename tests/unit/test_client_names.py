"""Names are built from parts that cannot escape their place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tokenvault_client as tv
from vault_service.domain import names

UUID = "0192f0c1-0000-7000-8000-000000000001"


def test_shapes() -> None:
    """Each helper gives the name of its kind."""
    assert tv.tenant_name("acme") == "tenants/acme"
    assert tv.provider_name("acme", "idp") == "tenants/acme/providers/idp"
    assert tv.oauth_client_name("acme", "web") == "tenants/acme/oauthClients/web"
    assert tv.grant_name("acme", UUID.upper()) == f"tenants/acme/grants/{UUID}"
    assert (
        tv.grant_alias_name("acme", "u@x.org", "calendar")
        == "tenants/acme/owners/u@x.org/grantAliases/calendar"
    )
    assert tv.secret_name("acme", "api-key") == "tenants/acme/secrets/api-key"
    assert tv.secret_name("acme", "api-key", owner="u1") == "tenants/acme/owners/u1/secrets/api-key"


@pytest.mark.parametrize(
    "build",
    [
        lambda: tv.secret_name("acme/owners/u1", "api-key"),
        lambda: tv.secret_name("acme", "api-key", owner=""),
        lambda: tv.tenant_name("-"),
        lambda: tv.tenant_name("a" * 64),
        lambda: tv.grant_alias_name("acme", "u1/../u2", "calendar"),
        lambda: tv.grant_alias_name("acme", "o" * 129, "calendar"),
        lambda: tv.grant_alias_name("acme", "u1\n", "calendar"),
        lambda: tv.grant_name("acme", "not-a-uuid"),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused(build: Callable[[], str]) -> None:
    """A part that would change what the name means is an InvalidArgument before any call."""
    with pytest.raises(tv.InvalidArgument) as caught:
        build()
    assert caught.value.reason == "NAME_MALFORMED"


@given(tenant=st.text(max_size=70), owner=st.text(max_size=140), label=st.text(max_size=70))
def test_what_is_built_is_what_the_service_reads(tenant: str, owner: str, label: str) -> None:
    """A name that the client builds parses at the service into the same parts."""
    try:
        name = tv.grant_alias_name(tenant, owner, label)
    except tv.InvalidArgument:
        return
    assert names.GrantAliasName.parse(name) == names.GrantAliasName(tenant, owner, label)


@given(
    tenant=st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True),
    owner=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~@:+=|-]{0,127}", fullmatch=True),
    secret=st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True),
)
def test_every_right_part_is_taken(tenant: str, owner: str, secret: str) -> None:
    """All that the service accepts can be built, at both levels."""
    user = names.SecretName.parse(tv.secret_name(tenant, secret, owner=owner))
    assert user == names.SecretName(tenant, owner, secret)
    application = names.SecretName.parse(tv.secret_name(tenant, secret))
    assert application == names.SecretName(tenant, "", secret)
