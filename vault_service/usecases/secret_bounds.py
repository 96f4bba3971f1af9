"""What every use case of secrets asks of its input, and how it refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from vault_service.domain import limits
from vault_service.domain.access import Resource, ResourceKind
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import SecretName, SecretParent
from vault_service.domain.secret import Secret, SecretChanges
from vault_service.domain.sensitive import Sensitive

NO_SECRET_ETAG: Final = "0"
"""The etag of a secret that does not exist, or not any more."""

_LABEL: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def secret_resource(name: SecretName) -> Resource:
    """A secret as the policy sees it."""
    return Resource(ResourceKind.SECRET, str(name), name.tenant, level=name.level, owner=name.owner)


def secrets_resource(parent: SecretParent) -> Resource:
    """All secrets of one level and owner; the id is no secret's name."""
    return Resource(
        ResourceKind.SECRET,
        f"{parent}/secrets/-",
        parent.tenant,
        level=parent.level,
        owner=parent.owner,
    )


def require_sound(payload: Sensitive, changes: SecretChanges, now: datetime) -> None:
    """PAYLOAD_TOO_LARGE; FIELD_MALFORMED for an empty payload, labels and expire_time."""
    if not 0 < len(payload) <= limits.PAYLOAD_MAX_BYTES:
        reason = Reason.PAYLOAD_TOO_LARGE if len(payload) else Reason.FIELD_MALFORMED
        raise VaultError(
            reason, f"payload has 1 to {limits.PAYLOAD_MAX_BYTES} bytes, got {len(payload)}"
        )
    _require_labels(changes.labels)
    if changes.expire_time is not None:
        life = changes.expire_time - now
        if not timedelta(0) < life <= timedelta(seconds=limits.SECRET_LIFE_MAX_S):
            raise malformed("expire_time", "lies ahead, at most ten years")


def require_etag(secret: Secret | None, etag: str) -> None:
    """ETAG_MISMATCH unless ``etag`` is the secret's, or empty."""
    there = secret is not None and secret.delete_time is None
    current = str(secret.revision) if secret and there else NO_SECRET_ETAG
    if etag and etag != current:
        raise etag_mismatch("the secret is not at this etag; read it again")


def etag_mismatch(message: str) -> VaultError:
    """ETAG_MISMATCH."""
    return VaultError(Reason.ETAG_MISMATCH, message)


def secret_not_found(why: str = "") -> VaultError:
    """SECRET_NOT_FOUND; ``why`` is for the record only."""
    return VaultError(
        Reason.SECRET_NOT_FOUND,
        "no such secret or version; names are case-sensitive",
        recorded={"why": why} if why else None,
    )


def malformed(field: str, message: str) -> VaultError:
    """FIELD_MALFORMED."""
    return VaultError(Reason.FIELD_MALFORMED, f"{field} {message}", metadata={"field": field})


def require_few(labels: Mapping[str, str]) -> None:
    """FIELD_MALFORMED for more labels than a secret has; asked of what is given and of the sum."""
    if len(labels) > limits.LABELS_MAX_COUNT:
        most = limits.LABELS_MAX_COUNT
        raise malformed("labels", f'of a secret are at most {most}; give "" to take one away')


def _require_labels(labels: Mapping[str, str]) -> None:
    require_few(labels)
    for key, value in labels.items():
        if not _LABEL.fullmatch(key):
            raise malformed("labels", "has keys like 'team' ([a-z][a-z0-9_-]*, at most 63)")
        plain = value.isascii() and value.isprintable()
        if not plain or len(value) > limits.LABEL_VALUE_MAX_CHARS:
            most = limits.LABEL_VALUE_MAX_CHARS
            raise malformed("labels", f"has values of at most {most} printable ASCII characters")
