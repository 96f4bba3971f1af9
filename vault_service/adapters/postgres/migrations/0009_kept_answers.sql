-- What an attempt in doubt waits for, and with which profile its kept answer was read last.
-- Run by tokenvault_owner inside one transaction. It only adds: an attempt of the release before
-- waits for nothing and was read by nobody, so that its kept answer is read once.

ALTER TABLE refresh_attempts
    ADD COLUMN waits_for smallint NOT NULL DEFAULT 0,
    ADD COLUMN read_revision bigint NOT NULL DEFAULT 0,
    ADD COLUMN read_by integer NOT NULL DEFAULT 0;
CREATE INDEX refresh_attempts_waiting ON refresh_attempts (next_try_time)
    WHERE orphan_envelope IS NOT NULL OR waits_for <> 0;
CREATE INDEX refresh_attempts_by_tenant ON refresh_attempts (tenant, attempt_id);

GRANT SELECT (revision) ON providers TO tokenvault_worker;
