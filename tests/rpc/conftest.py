"""Fixtures of the gRPC surface."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.rpc.surface import Pki, Surface
from tests.support.house import House


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """One CA for all tests: making keys is what takes time."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def surface(pki: Pki) -> AsyncIterator[Surface]:
    """A running server over a house of its own, with provider and OAuthClient registered."""
    house = House()
    await house.register()
    async with Surface(house, pki).running() as running:
        yield running
