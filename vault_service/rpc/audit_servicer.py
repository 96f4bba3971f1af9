"""AuditService."""

from __future__ import annotations

from tokenvault.v1 import audit_service_pb2 as pb
from tokenvault.v1 import audit_service_pb2_grpc
from vault_service.domain.access import Call
from vault_service.domain.names import SYSTEM_TENANT, parse_tenant
from vault_service.rpc import fields, translate
from vault_service.rpc.handling import Handling, handled
from vault_service.usecases.audit_records import AuditRecords


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """The record."""

    def __init__(self, handling: Handling, records: AuditRecords) -> None:
        self.handling = handling
        self._records = records

    @handled("AuditService", lambda request: request.parent)
    async def ListAuditRecords(
        self, request: pb.ListAuditRecordsRequest, call: Call
    ) -> pb.ListAuditRecordsResponse:
        """See the proto."""
        page = await self._records.list(
            call,
            _tenant(request.parent),
            fields.page_size(request.page_size),
            fields.page_token(request.page_token),
        )
        return pb.ListAuditRecordsResponse(
            records=map(translate.audit_record, page.items), next_page_token=page.next_token
        )


def _tenant(parent: str) -> str:
    return SYSTEM_TENANT if parent == f"tenants/{SYSTEM_TENANT}" else parse_tenant(parent)
