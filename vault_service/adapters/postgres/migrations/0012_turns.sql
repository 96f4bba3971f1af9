-- Tenants take turns in the queues of revocations. Run by tokenvault_owner inside one transaction. It
-- only adds: the release before goes on with its own indexes.

CREATE INDEX provider_revocations_turns ON provider_revocations (tenant, next_attempt_time);
CREATE INDEX discarded_tokens_turns ON discarded_tokens (tenant, next_attempt_time);
