"""Which scopes count as granted, however the provider names and separates them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.token_endpoint import an_answer
from tests.support.house import House, refused
from tests.support.samples import a_profile
from vault_service.domain import limits
from vault_service.domain.errors import Reason
from vault_service.domain.scopes import granted_scopes, refreshed_scopes, separated

_EMAIL = "https://www.googleapis.com/auth/userinfo.email"
_CONTACTS = ("https://g/contacts.write",)


@pytest.mark.parametrize(
    ("asked", "answered", "changes", "granted"),
    [
        (("a", "b"), None, {}, ("a", "b")),
        (("a", "b"), (), {}, ()),
        (("a", "b"), ("b", "a"), {}, ("a", "b")),
        (("a", "b"), ("a",), {}, ("a",)),
        (("a", "b"), ("a", "c"), {}, ("a", "c")),  # a is recognised: b was left out
        (("calendar", "drive"), ("calendar", "profile"), {}, ("calendar", "profile")),
        (("x/calendar", "x/drive"), ("x/calendar", _EMAIL), {}, ("x/calendar", _EMAIL)),
        (("email", "drive"), (_EMAIL, "profile"), {}, ("email", _EMAIL, "profile")),
        (("openid", "files"), ("openid", "docs"), {}, ("openid", "files", "docs")),
        # A name that was asked for is not another one's, whichever is the longer.
        (("https://g/contacts.write", "write"), ("write",), {}, ("write",)),
        (("write", "https://g/contacts.write"), ("https://g/contacts.write",), {}, _CONTACTS),
        (("https://g/f.admin", "read", "admin"), ("read", "admin"), {}, ("read", "admin")),
        (("a", "b", "c"), ("a", "d"), {}, ("a", "d")),
        (("a",), ("a", "c"), {}, ("a", "c")),
        (("repo", "read:user"), ("read:user,repo",), {}, ("repo", "read:user")),
        (("repo", "gist"), ("repo+gist",), {}, ("repo", "gist")),
        (("repo", "gist"), ("repo, gist",), {}, ("repo", "gist")),
        (("a,b", "c"), ("a,b", "c"), {}, ("a,b", "c")),
        (("a+b",), ("a+b",), {}, ("a+b",)),
        (("a", "b"), ("a b",), {"scope_separator": ","}, ("a", "b")),
        (("a", "b"), ("a+b",), {"scope_separator": ","}, ("a", "a+b")[1:]),
        (("openid", "email"), ("openid", _EMAIL), {}, ("openid", "email", _EMAIL)),
        (("openid", "email"), ("openid",), {}, ("openid",)),
        (("Mail.Read",), ("mail.read",), {}, ("Mail.Read", "mail.read")),
        (("https://api.example/Mail.Read",), ("Mail.Read", "openid"), {}, None),
        (("mail", "files"), ("mail", "openid"), {}, ("mail", "openid")),
        (("a", "b"), ("c",), {"scope_aliases": {"a": "c"}}, ("a", "c")),
        (("a", "b"), ("c", "d"), {"scope_aliases": {"a": "c"}}, ("a", "c", "d")),
        (("a", "b"), (), {"scopes_not_comparable": True}, ("a", "b")),
        (("a", "b"), ("x",), {"scopes_not_comparable": True}, ("a", "b", "x")),
    ],
    ids=str,
)
def test_granted(
    asked: Sequence[str],
    answered: Sequence[str] | None,
    changes: dict[str, Any],
    granted: Sequence[str] | None,
) -> None:
    """A scope is missing where the answer shows it, not where its name or separator differs."""
    expected = (*asked, *(answered or ())) if granted is None else tuple(granted)
    assert granted_scopes(asked, answered, a_profile(**changes)) == expected


def test_renamed_scopes_outlive_a_refresh() -> None:
    """What was granted under another name stays granted when a refresh tells that name alone."""
    profile = a_profile()
    first = granted_scopes(("openid", "email", "files"), ("openid", _EMAIL, "files"), profile)
    assert set(first) == {"openid", "email", "files", _EMAIL}
    again = granted_scopes(first, ("openid", _EMAIL, "files"), profile, renewed=True)
    assert again == first
    assert "files" not in granted_scopes(first, ("openid", _EMAIL), profile, renewed=True)


async def test_a_refresh_keeps_what_the_consent_renamed() -> None:
    """A scope of another name survives the refresh that tells that other name."""
    house = House()
    await house.register()
    other = "https://op.example/mail"
    house.endpoint.answers += [an_answer(scopes=(other,)), an_answer("at-2", scopes=(other,))]
    grant = (await house.consent()).grant
    assert "mail" in grant.scopes
    house.clock.advance(3_600)
    assert (await house.token(grant.name)).scopes == grant.scopes


_SCOPE = st.text("abcd:/.+,", min_size=1, max_size=6)
_LIST = st.lists(_SCOPE, max_size=6, unique=True)


@given(_LIST, _LIST, st.sampled_from([" ", ",", "+"]), st.dictionaries(_SCOPE, _SCOPE, max_size=3))
def test_no_scope_is_made_up(
    asked: list[str], answered: list[str], separator: str, aliases: dict[str, str]
) -> None:
    """What is granted was asked for or answered, each once; all that is answered is in it; and what
    was asked for and answered with itself is never missing."""
    profile = a_profile(scope_separator=separator, scope_aliases=aliases)
    granted = granted_scopes(asked, answered, profile)
    found = separated(asked, answered, separator)
    assert len(set(granted)) == len(granted) <= 2 * limits.SCOPES_MAX_COUNT
    assert set(found) <= set(granted) <= set(asked) | set(found)
    assert set(asked) & set(found) <= set(granted)
    assert set(granted_scopes(asked, asked, profile)) >= {one for one in asked if "," not in one}


@given(_LIST.filter(lambda asked: all(one.isalpha() for one in asked)), st.data())
def test_fewer_of_the_same_are_fewer(asked: list[str], data: st.DataObject) -> None:
    """Where the answer names nothing but asked scopes, those are granted and no others."""
    answered = [one for one in asked if data.draw(st.booleans())]
    assert set(granted_scopes(asked, answered, a_profile())) == set(answered)


_BY_COUNT = ("mail", "files", "m1", "f1")


@pytest.mark.parametrize(
    ("asked", "granted", "answered", "expected"),
    [
        # Granted by count: the provider has names of its own for all that was asked for.
        (("mail", "files"), _BY_COUNT, None, _BY_COUNT),
        (("mail", "files"), _BY_COUNT, (), _BY_COUNT),  # names nothing, so it takes nothing away
        (("mail", "files"), _BY_COUNT, ("m1", "f1"), _BY_COUNT),
        (("mail", "files"), _BY_COUNT, ("f1", "m1"), ("mail", "files", "f1", "m1")),
        (("mail", "files"), _BY_COUNT, ("m2", "f2"), ("mail", "files", "m2", "f2")),
        (("mail", "files"), _BY_COUNT, ("m1 f1",), _BY_COUNT),
        (("mail", "files"), _BY_COUNT, ("mail", "files"), ("mail", "files")),
        (("openid", "mail"), ("openid", "mail", "m1"), ("m1",), ("openid", "mail", "m1")),
        (("openid", "mail"), ("openid", "mail", "m1"), ("openid", "m1"), ("openid", "mail", "m1")),
        # A real reduction: fewer names than before, or a name of our own that is missing.
        (("mail", "files"), _BY_COUNT, ("m1",), ("m1",)),
        (("mail", "files"), _BY_COUNT, ("mail",), ("mail",)),
        (("mail", "files"), ("mail", "files"), ("mail",), ("mail",)),
        (("mail", "files"), ("mail", "files", "extra"), ("files", "extra"), ("files", "extra")),
        # What the consent did not bring a refresh does not add by count.
        (("mail", "files"), ("mail",), ("x1", "x2"), ("mail", "x1", "x2")),
        (("mail", "files"), ("mail",), ("mail", "files"), ("mail", "files")),
        # A grant from before the asked scopes were kept.
        ((), ("a", "b"), ("a",), ("a",)),
        ((), ("a", "b"), None, ("a", "b")),
    ],
    ids=str,
)
def test_refreshed(
    asked: Sequence[str],
    granted: Sequence[str],
    answered: Sequence[str] | None,
    expected: Sequence[str],
) -> None:
    """A refresh takes away what its answer shows to be gone, and not what it names otherwise."""
    assert refreshed_scopes(asked, granted, answered, a_profile()) == tuple(expected)


@pytest.mark.parametrize("answered", [None, (), ("m1", "f1"), ("m2", "f2")], ids=str)
async def test_scopes_granted_by_count_outlive_refreshes(answered: tuple[str, ...] | None) -> None:
    """A call that names a scope as it was asked for is served after each refresh, whatever names
    the provider uses there, and the provider is asked again for what the consent asked for."""
    house = House()
    await house.register(requires_scope_on_refresh=True)
    house.endpoint.answers.append(an_answer(scopes=("m1", "f1")))
    started = await house.started(scopes=("mail", "files"))
    grant = (await house.complete(house.call(), house.callback(started))).grant
    assert (grant.asked_scopes, grant.scopes) == (("mail", "files"), _BY_COUNT)
    for turn in range(3):
        house.endpoint.answers.append(an_answer(f"at-{turn + 2}", scopes=answered))
        house.clock.advance(3_600)
        token = await house.token(grant.name, scopes=frozenset(("mail", "files")))
        assert {"mail", "files"} <= set(token.scopes)
    sent = [post.scopes for post in house.endpoint.posted("refresh")]
    assert sent == [("mail", "files")] * 3


async def test_fewer_scopes_by_count_are_noticed() -> None:
    """A refresh that names fewer scopes than were granted by count has taken some away."""
    house = House()
    await house.register()
    house.endpoint.answers.append(an_answer(scopes=("m1", "f1")))
    started = await house.started(scopes=("mail", "files"))
    grant = (await house.complete(house.call(), house.callback(started))).grant
    house.endpoint.answers.append(an_answer("at-2", scopes=("m1",)))
    house.clock.advance(3_600)
    assert (await house.token(grant.name)).scopes == ("m1",)
    await refused(
        Reason.REAUTHORIZATION_REQUIRED, house.token(grant.name, scopes=frozenset(("mail",)))
    )


async def test_consent_again_replaces_the_asked_scopes() -> None:
    """What the newest consent asked for is what refreshes are held against."""
    house = House()
    await house.register(subject_from="response:user")
    await house.consent()
    started = await house.started(scopes=("calendar",))
    grant = (await house.complete(house.call(), house.callback(started))).grant
    assert (await house.row(grant.name)).asked_scopes == ("calendar",)
