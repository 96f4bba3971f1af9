"""One real deployment for the tests of a worker; who breaks servers starts its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.oidc import OidcProvider
from tests.support.vault import RealVault, running_vault


@pytest.fixture(scope="session")
def real_vault() -> Iterator[RealVault]:
    """Servers, migrated, with the tenant; start processes with ``serve``."""
    with running_vault() as vault:
        yield vault


@pytest.fixture(scope="session")
def breakable_vault() -> Iterator[RealVault]:
    """A second one, whose servers tests stop, pause and seal; each brings them back."""
    with running_vault() as vault:
        yield vault


@pytest.fixture(scope="module")
def oidc(real_vault: RealVault, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    """The certified authorization server; its access tokens live four seconds."""
    directory = tmp_path_factory.mktemp("oidc")
    server = OidcProvider(directory, real_vault.ca, access_life_s=4).start()
    yield server
    server.stop()
