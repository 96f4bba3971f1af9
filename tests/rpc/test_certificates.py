"""Threat T9 over real TLS: a corpus of certificates, each refused by the one who has to."""

from __future__ import annotations

import grpc
import pytest

from tests.rpc.certificate_corpus import CORPUS, TAKEN, TLS, Authority, Issuer
from tests.rpc.surface import Pki, Surface
from tests.support.house import APP, TENANT
from tokenvault.v1 import grant_service_pb2, grant_service_pb2_grpc
from vault_service.domain.audit import Outcome

_LIST = (grant_service_pb2_grpc.GrantServiceStub, "ListGrants")
_LISTING = grant_service_pb2.ListGrantsRequest(parent=f"tenants/{TENANT}")


@pytest.fixture(scope="module")
def issuer(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    authority = Authority(pki.ca._root, pki.ca._key)
    return Issuer(tmp_path_factory.mktemp("corpus"), authority)


def test_corpus_is_large() -> None:
    """Dozens of what one could try, and what must not be refused beside it."""
    assert len(CORPUS) >= 60
    assert sum(says == TAKEN for _, says in CORPUS.values()) >= 5


@pytest.mark.parametrize("what", CORPUS)
async def test_certificate(surface: Surface, issuer: Issuer, what: str) -> None:
    """TLS refuses what no CA of ours signed for a client of now; of the rest, what is not exactly
    one SPIFFE id of ours is CALLER_UNKNOWN with a record that names nobody, and asks no policy."""
    wanted, says = CORPUS[what]
    asked = len(surface.house.policy.asked)
    channel = surface.keep(what, surface.pki.channel(surface.port, issuer.issue(wanted)))
    if says == TAKEN:
        await surface.call(*_LIST, _LISTING, channel)
        assert surface.house.policy.asked[-1][0].spiffe_id == APP
        return
    refused = await surface.refused(*_LIST, _LISTING, channel, limit_s=5.0)
    assert len(surface.house.policy.asked) == asked
    if says == TLS:
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "")
        assert surface.refusals() == []
        return
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNKNOWN")
    assert says in refused.message
    (record,) = surface.refusals()
    assert (record.caller, record.certificate_serial, record.outcome) == ("", "", Outcome.DENY)
    assert says in record.detail["why"]
    assert (record.tenant, record.request_id) == (TENANT, refused.request_id)
