"""A DEK in clear: hidden, and gone when let go."""

from __future__ import annotations

import copy
import gc
import pickle

import pytest

from vault_service.crypto.dek import Dek
from vault_service.domain.envelope import DekOwner, Level
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.sensitive import SecretExposureError, Sensitive

OWNER = DekOwner("tenant-a", Level.USER, "user-42")
KEY = bytes(range(1, 33))


def make(key: bytes = KEY, dek_id: bytes = b"i" * 16) -> Dek:
    return Dek(dek_id, OWNER, Sensitive(key))


def test_is_never_shown() -> None:
    """Printing and formatting show neither the key nor the id."""
    dek = make()
    assert {str(dek), repr(dek), f"{dek}", "%r" % [dek]} == {"<dek>", "[<dek>]"}


@pytest.mark.parametrize("attempt", [pickle.dumps, copy.copy, copy.deepcopy])
def test_is_never_copied(attempt: object) -> None:
    """Pickling and copying are refused."""
    assert callable(attempt)
    with pytest.raises(SecretExposureError):
        attempt(make())


@pytest.mark.parametrize(("key", "dek_id"), [(KEY[:-1], b"i" * 16), (KEY, b"i" * 15), (b"", b"")])
def test_wrong_sizes(key: bytes, dek_id: bytes) -> None:
    """A key that has not 32 bytes, or an id that has not 16, is ENVELOPE_CORRUPT."""
    with pytest.raises(VaultError) as refused:
        make(key, dek_id)
    assert refused.value.reason is Reason.ENVELOPE_CORRUPT


def test_view_is_read_only() -> None:
    """Who reads the key cannot change it."""
    dek = make()
    view = dek.reveal()
    assert view == KEY
    with pytest.raises(TypeError):
        view[0] = 0


def test_wiped() -> None:
    """After wipe the buffer is zero, and use is refused rather than done with a zero key."""
    dek = make()
    view = dek.reveal()
    dek.wipe()
    assert view == bytes(32)
    with pytest.raises(VaultError) as refused:
        dek.reveal()
    assert refused.value.reason is Reason.INTERNAL


def test_wiped_when_the_last_user_lets_go() -> None:
    """The key is overwritten with the last reference, and not before."""
    dek = make()
    view, in_use = dek.reveal(), dek
    del dek
    gc.collect()
    assert view == KEY
    del in_use
    gc.collect()
    assert view == bytes(32)
