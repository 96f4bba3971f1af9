"""Format 1 suite 0x0001 against bytes that were not made by this code."""

from __future__ import annotations

import pytest

from tests.vectors.shared_data import own_vectors, shared_vectors
from vault_service.crypto.bind import associated_data, transit_context
from vault_service.crypto.dek import Dek
from vault_service.crypto.envelope import open_envelope, seal
from vault_service.domain.envelope import Binding, DekOwner, Field, Level
from vault_service.domain.sensitive import Sensitive

KAT = own_vectors("envelope_v1_kat.json")
DEPLOYMENT, TENANT, LEVEL, OWNER, RECORD, FIELD, VERSION, PROVIDER = KAT["context_fields"]
DEK_OWNER = DekOwner(TENANT, Level(LEVEL), OWNER)
BINDING = Binding(DEK_OWNER, RECORD, Field(FIELD), VERSION, PROVIDER)
ENVELOPE = bytes.fromhex(KAT["envelope"])


def dek() -> Dek:
    return Dek(bytes.fromhex(KAT["dek_id"]), DEK_OWNER, Sensitive(bytes.fromhex(KAT["dek"])))


def test_associated_data() -> None:
    """The associated data has the known bytes."""
    assert associated_data(DEPLOYMENT, BINDING).hex() == KAT["context_bytes"]


def test_seal() -> None:
    """Sealing the known payload with the known msg_id gives the known envelope."""
    payload = Sensitive.from_text(KAT["plaintext_ascii"])
    assert seal(DEPLOYMENT, dek(), BINDING, payload, bytes.fromhex(KAT["msg_id"])) == ENVELOPE


def test_open() -> None:
    """The known envelope opens to the known payload."""
    opened = open_envelope(DEPLOYMENT, dek(), BINDING, ENVELOPE)
    assert opened.reveal_text() == KAT["plaintext_ascii"]


def test_transit_context() -> None:
    """The context of a wrapped DEK is its length-prefixed row, written out by hand here."""
    assert transit_context("dep-1", b"\xaa" * 16, DekOwner("t", Level.APPLICATION, "")) == (
        b"\x00\x00\x00\x0dtvault/dek/v1"
        b"\x00\x00\x00\x05dep-1"
        b"\x00\x00\x00\x01t"
        b"\x00\x00\x00\x03app"
        b"\x00\x00\x00\x00"
        b"\x00\x00\x00\x10" + b"\xaa" * 16
    )


@pytest.mark.parametrize("name", ["envelope_v1_kat.json", "salamander_aes256gcm.json"])
def test_copy_is_the_original(name: str) -> None:
    """The vectors that the repository brings along are the shared ones, unchanged."""
    assert own_vectors(name) == shared_vectors(name)
