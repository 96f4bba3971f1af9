"""Why a connection did not come about, read from gRPC's own texts.

gRPC has no codes for this, only words. They were collected from grpcio 1.85 against a server
that refuses each way; a text that is not known here still becomes a TransportRefused, with
gRPC's words in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tokenvault_client.enums import TransportProblem

_NEVER_CONNECTED: Final = ("failed to connect", "errors resolving", "dns resolution failed")

# The first that fits counts: an expired certificate also "failed to verify".
_WORDS: Final[tuple[tuple[str, TransportProblem], ...]] = (
    ("errors resolving", TransportProblem.NAME_NOT_RESOLVED),
    ("dns resolution failed", TransportProblem.NAME_NOT_RESOLVED),
    ("connection refused", TransportProblem.NOTHING_LISTENING),
    ("no route to host", TransportProblem.UNREACHABLE),
    ("unreachable", TransportProblem.UNREACHABLE),
    ("timed out", TransportProblem.UNREACHABLE),
    ("timeout", TransportProblem.UNREACHABLE),
    ("security handshaker", TransportProblem.CLIENT_FILES_UNUSABLE),
    ("wrong_version_number", TransportProblem.NOT_TLS),
    ("hostname verification", TransportProblem.SERVER_NAME_WRONG),
    ("certificate has expired", TransportProblem.SERVER_CERTIFICATE_EXPIRED),
    ("certificate is not yet valid", TransportProblem.SERVER_CERTIFICATE_EXPIRED),
    ("certificate_verify_failed", TransportProblem.SERVER_NOT_TRUSTED),
    # TLS 1.3 judges the client's certificate after the client's side of the handshake is done:
    # all that arrives here is a connection closed before its first frame, or an alert.
    ("alert", TransportProblem.CLIENT_CERTIFICATE_REFUSED),
    ("socket closed", TransportProblem.CLIENT_CERTIFICATE_REFUSED),
    ("connection reset", TransportProblem.CLIENT_CERTIFICATE_REFUSED),
    ("broken pipe", TransportProblem.CLIENT_CERTIFICATE_REFUSED),
)

_ADVICE: Final[Mapping[TransportProblem, str]] = {
    TransportProblem.UNSPECIFIED: (
        "no connection to {target}; check the address, the certificates on both sides and what "
        "stands between them"
    ),
    TransportProblem.NOTHING_LISTENING: (
        "nothing listens at {target}; check the address and port, and that the service runs"
    ),
    TransportProblem.UNREACHABLE: (
        "{target} does not answer; check the address, routes and firewalls, and proxy variables"
    ),
    TransportProblem.NAME_NOT_RESOLVED: (
        "the host name in {target} has no address; check its spelling and the name server"
    ),
    TransportProblem.NOT_TLS: (
        "what listens at {target} does not speak TLS; check the port, and whether TLS ends before"
    ),
    TransportProblem.SERVER_NAME_WRONG: (
        "the certificate of {target} names another server; check target, or set server_name to a "
        "name in the certificate"
    ),
    TransportProblem.SERVER_CERTIFICATE_EXPIRED: (
        "the certificate of {target} or of its CA has expired or is not valid yet; renew it, or "
        "check this machine's clock"
    ),
    TransportProblem.SERVER_NOT_TRUSTED: (
        "the certificate of {target} was not issued by a CA in ca_file; check that ca_file is the "
        "service's trust bundle and current"
    ),
    TransportProblem.CLIENT_CERTIFICATE_REFUSED: (
        "{target} closed the connection during the TLS handshake; most likely it refused the "
        "client certificate: check that certificate_file has not expired, was issued by a CA the "
        "service trusts, and brings its intermediate certificates"
    ),
    TransportProblem.CLIENT_FILES_UNUSABLE: (
        "ca_file, certificate_file and key_file cannot be used together; check that each is PEM "
        "and that the key belongs to the certificate"
    ),
}
assert _ADVICE.keys() == set(TransportProblem), "every problem has its advice"


def problem_of(details: str) -> TransportProblem | None:
    """What kept a connection from coming about; None where there had been a connection."""
    text = details.lower()
    if not any(words in text for words in _NEVER_CONNECTED):
        return None
    found = (problem for words, problem in _WORDS if words in text)
    return next(found, TransportProblem.UNSPECIFIED)


def advice(problem: TransportProblem, target: str) -> str:
    """What it means and what to check."""
    return _ADVICE[problem].format(target=target)
