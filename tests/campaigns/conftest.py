"""A deployment for each module: campaigns break what they use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.vault import RealVault, running_vault


@pytest.fixture(scope="module")
def vault() -> Iterator[RealVault]:
    """Servers, migrated, with the tenant."""
    with running_vault() as running:
        yield running
