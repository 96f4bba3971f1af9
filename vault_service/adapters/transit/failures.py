"""What transit's failures mean: away (may work later), denied (nothing cached may stand in)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import requests

from vault_service.domain import limits
from vault_service.domain.errors import KekDenied, Reason, VaultError

_NESTING_MAX: Final = 16
_SERVER_FAULT: Final = 500
# 429 too many requests; 412 a replica that is behind; 472 and 473 replicas that do not serve.
_LATER: Final = frozenset({412, 429, 472, 473})


def unreachable(message: str) -> VaultError:
    """KEK_UNREACHABLE: the same call may work later."""
    return VaultError(Reason.KEK_UNREACHABLE, message, retry_after_s=limits.RETRY_AFTER_S)


def too_slow() -> VaultError:
    """KEK_UNREACHABLE because the deadline passed."""
    return unreachable(
        f"transit did not answer within {limits.TRANSIT_LIMIT_S:g} s; check that the key store "
        "is up, unsealed and not overloaded, and the network between"
    )


def not_provisioned(tenant: str) -> VaultError:
    """TENANT_NOT_PROVISIONED: no transit key has the tenant's name."""
    return VaultError(
        Reason.TENANT_NOT_PROVISIONED,
        f"tenant {tenant} has no key; create it with: tokenvault tenant create {tenant}",
    )


def from_status(status: int, doing: str) -> VaultError:
    """The error for an answer that is not the wanted one."""
    if status == 503:
        return unreachable("transit is sealed or has no leader; unseal the key store")
    if status >= _SERVER_FAULT or status in _LATER:
        return unreachable(f"transit answered {status} to {doing}; check the key store's own log")
    if 200 <= status < 400:  # a redirect, or something else that listens there
        return unreachable(f"what answered ({status}) to {doing} is not transit; check the address")
    hints = {
        403: "the policy of our login does not permit it",
        404: "nothing is mounted there",
    }
    hint = hints.get(status, "the request is refused")
    return KekDenied(f"transit answered {status} to {doing}: {hint}; check mount, policy and role")


@contextmanager
def transport_errors() -> Iterator[None]:
    """Turn the HTTP library's exceptions into KEK_UNREACHABLE or ``KekDenied``."""
    try:
        yield
    except TimeoutError as error:
        raise too_slow() from error
    except requests.exceptions.RequestException as error:
        error.request = None  # it would carry the token and the DEKs along
        if _has_cause(error, ssl.SSLCertVerificationError):
            raise KekDenied(
                "transit's certificate is not trusted; check its ca_file and that the address "
                "is a name in the certificate"
            ) from error
        if isinstance(error, requests.exceptions.Timeout):
            raise too_slow() from error
        raise unreachable(
            "transit cannot be reached; check its address, that it is up, and the network between"
        ) from error
    except OSError as error:  # of ca_file: the library opens it at each new connection
        raise KekDenied("transit's ca_file cannot be read; check the path and its mode") from error


def _has_cause(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether ``kind`` is wrapped in there: urllib3 nests in args, ``reason`` and causes."""
    level: list[object] = [error]
    for _ in range(_NESTING_MAX):
        if any(isinstance(found, kind) for found in level):
            return True
        level = [
            inner
            for found in level
            if isinstance(found, BaseException)
            for inner in (*found.args, getattr(found, "reason", None), found.__cause__)
            if isinstance(inner, BaseException)
        ]
    return False
