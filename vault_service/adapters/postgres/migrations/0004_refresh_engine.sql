-- Refresh attempts, written before the provider is asked, and what holds back the next request.
-- Run by tokenvault_owner inside one transaction. It only adds: the release before goes on beside
-- it, and its refreshes, which write no attempt, are as safe as they were.

ALTER TABLE grants ADD COLUMN rejected_generation bigint;

CREATE TABLE refresh_attempts (
    attempt_id      uuid PRIMARY KEY,
    tenant          text NOT NULL,
    grant_id        uuid NOT NULL,
    base_generation bigint NOT NULL,
    refresh_class   smallint NOT NULL,
    grace_s         integer NOT NULL,
    instance        text NOT NULL,
    spool_id        uuid NOT NULL,
    state           smallint NOT NULL,
    reason          text NOT NULL DEFAULT '',
    retries         integer NOT NULL DEFAULT 0,
    orphan_envelope bytea,
    create_time     timestamptz NOT NULL DEFAULT clock_timestamp(),
    update_time     timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_try_time   timestamptz NOT NULL,
    FOREIGN KEY (tenant, grant_id) REFERENCES grants (tenant, grant_id)
);
-- States 1 and 5 are INTENT and IN_DOUBT: while one of them stands, no other request is sent.
CREATE UNIQUE INDEX one_unresolved_attempt ON refresh_attempts (grant_id) WHERE state IN (1, 5);
CREATE INDEX refresh_attempts_unresolved ON refresh_attempts (next_try_time)
    WHERE state IN (1, 5);
CREATE INDEX refresh_attempts_ended ON refresh_attempts (update_time)
    WHERE state NOT IN (1, 5) AND orphan_envelope IS NULL;
CREATE INDEX refresh_attempts_by_grant ON refresh_attempts (grant_id, create_time);

-- One row for a grant: changed by every refresh and every failure, so that neither changes the
-- grant's own revision.
CREATE TABLE grant_upkeep (
    grant_id           uuid PRIMARY KEY,
    tenant             text NOT NULL,
    failures           integer NOT NULL DEFAULT 0,
    not_before         timestamptz,
    reason             text NOT NULL DEFAULT '',
    refused_generation bigint,
    refused_time       timestamptz,
    refresh_time       timestamptz,
    FOREIGN KEY (tenant, grant_id) REFERENCES grants (tenant, grant_id)
);

CREATE TABLE abandoned_spools (
    spool_id     uuid PRIMARY KEY,
    abandon_time timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Row-level security ------------------------------------------------------------------------------
DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['refresh_attempts', 'grant_upkeep'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I TO tokenvault_app, tokenvault_owner '
            'USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant())', guarded);
        EXECUTE format(
            'CREATE POLICY all_tenants ON %I TO tokenvault_worker USING (true) WITH CHECK (true)',
            guarded);
    END LOOP;
END
$$;
CREATE POLICY all_tenants ON grant_leases TO tokenvault_worker USING (true) WITH CHECK (true);

-- Least privilege ---------------------------------------------------------------------------------
GRANT SELECT, INSERT, UPDATE ON refresh_attempts, grant_upkeep TO tokenvault_app;
GRANT SELECT, INSERT ON abandoned_spools TO tokenvault_app;
GRANT SELECT ON refresh_attempts, grant_upkeep, grant_leases TO tokenvault_worker;
GRANT SELECT ON abandoned_spools TO tokenvault_worker;
-- FOR UPDATE asks for the right to update one column.
GRANT UPDATE (next_try_time), DELETE ON refresh_attempts TO tokenvault_worker;
