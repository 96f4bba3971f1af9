"""The end of the server's certificate, as metrics tell it."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography import x509

from tests.rpc.client_pki import Authority
from vault_service.rpc.certificates import CertificateEnd


def test_end_of_the_certificate(tmp_path: Path) -> None:
    """The leaf's end, read anew when the file is replaced; none while it is no certificate."""
    issued = Authority(tmp_path, "ca").server()
    file = tmp_path / "served.pem"
    end = CertificateEnd(file)
    assert end.unix_s() is None
    file.write_bytes(issued.certificate.read_bytes())
    leaf = x509.load_pem_x509_certificate(file.read_bytes())
    assert end.unix_s() == leaf.not_valid_after_utc.timestamp()
    file.write_bytes(b"half of a")
    os.utime(file, ns=(1, 1))
    assert end.unix_s() is None
