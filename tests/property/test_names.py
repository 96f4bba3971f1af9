"""Resource names: strict, and one spelling each."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_service.domain.envelope import Level
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import (
    GrantAliasName,
    GrantName,
    OAuthClientName,
    ProviderName,
    SecretName,
    parse_tenant,
    require_id,
    require_owner,
)


class Name(Protocol):
    """A class of names."""

    @classmethod
    def parse(cls, name: str) -> Any:
        """From text."""


KINDS: tuple[type[Name], ...] = (
    GrantAliasName,
    GrantName,
    OAuthClientName,
    ProviderName,
    SecretName,
)
GRANT_ID = "0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"

ids = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
owners = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~@:+=|-]{0,127}", fullmatch=True)
names = st.one_of(
    st.builds(GrantAliasName, ids, owners, ids),
    st.builds(GrantName, ids, st.uuids()),
    st.builds(OAuthClientName, ids, ids),
    st.builds(ProviderName, ids, ids),
    st.builds(SecretName, ids, st.one_of(st.just(""), owners), ids),
)
# Text that is nearly a name: its pieces, and anything, joined by slashes.
pieces = st.one_of(
    st.sampled_from(
        ["tenants", "providers", "oauthClients", "grants", "owners", "grantAliases", "secrets", ""]
    ),
    ids,
    owners,
    st.uuids().map(str),
    st.text(max_size=8),
)
nearly = st.one_of(st.text(), st.lists(pieces, max_size=8).map("/".join))


def tried(parse: Callable[[str], Any], text: str) -> tuple[Any, VaultError | None]:
    """What came of it, or the refusal."""
    try:
        return parse(text), None
    except VaultError as error:
        return None, error


@given(names)
def test_round_trip(name: Any) -> None:
    """A name prints to a text that parses to the same name."""
    assert type(name).parse(str(name)) == name


@given(nearly)
def test_what_parses_prints_back(text: str) -> None:
    """Whatever a parser accepts prints back identically; all else is NAME_MALFORMED."""
    for kind in KINDS:
        name, error = tried(kind.parse, text)
        if error is None:
            assert str(name) == text
            continue
        assert error.reason is Reason.NAME_MALFORMED
        assert error.message.isprintable()
        assert error.message.isascii()
        assert len(error.message) < 2_000


@given(nearly)
def test_a_text_names_one_thing(text: str) -> None:
    """No text is a name of two kinds."""
    accepted = [kind for kind in KINDS if tried(kind.parse, text)[1] is None]
    assert len(accepted) <= 1


@given(st.text())
def test_parts(text: str) -> None:
    """Tenants, ids and owners are accepted as they are or refused as NAME_MALFORMED."""
    for check in (lambda t: require_id(t, "Id"), require_owner, parse_tenant):
        accepted, error = tried(check, text)
        if error is None:
            assert accepted in (text, text.removeprefix("tenants/"))
            assert "/" not in accepted
        else:
            assert error.reason is Reason.NAME_MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        f"tenants/acme/grants/{GRANT_ID.upper()}",
        f"tenants/acme/grants/{{{GRANT_ID}}}",
        f"tenants/acme/grants/urn:uuid:{GRANT_ID}",
        f"tenants/acme/grants/{GRANT_ID.replace('-', '')}",
        f"tenants/acme/grants/{GRANT_ID} ",
        f"tenants/acme/grants/{GRANT_ID}\n",
        f"tenants/acme/grants/{GRANT_ID}/",
        f"/tenants/acme/grants/{GRANT_ID}",
        f"tenants//grants/{GRANT_ID}",
        f"tenants/-/grants/{GRANT_ID}",
        f"tenants/../grants/{GRANT_ID}",
        f"tenants/acme\x00/grants/{GRANT_ID}",
        f"tenants/аcme/grants/{GRANT_ID}",
        f"Tenants/acme/grants/{GRANT_ID}",
        "tenants/acme/grants/" + "٠" * 32,
        "tenants/acme/grants/",
        "tenants/acme/grants",
        "",
        "\ud800",
        "x" * 1_000_000,
    ],
)
def test_other_spellings_of_a_grant(text: str) -> None:
    """A UUID has one spelling, and nothing is trimmed, folded or normalised."""
    with pytest.raises(VaultError) as caught:
        GrantName.parse(text)
    assert caught.value.reason is Reason.NAME_MALFORMED
    assert len(caught.value.message) < 2_000


@pytest.mark.parametrize("owner", ["", "-a", ".a", "a/b", "a b", "a" * 129, "ü", "a\n", "a%2Fb"])
def test_owners(owner: str) -> None:
    """An owner starts with a letter or digit and has no slash, space or escape."""
    with pytest.raises(VaultError):
        require_owner(owner)


def test_levels() -> None:
    """A secret's name says its level."""
    assert SecretName.parse("tenants/acme/secrets/smtp").level is Level.APPLICATION
    assert SecretName.parse("tenants/acme/owners/u-1/secrets/smtp").level is Level.USER


def test_grant_name() -> None:
    """The plain case reads as it is written."""
    name = GrantName.parse(f"tenants/acme/grants/{GRANT_ID}")
    assert (name.tenant, name.grant_id) == ("acme", uuid.UUID(GRANT_ID))
