-- When each grant is due to be looked at, in an index of its own. Run by tokenvault_owner inside one
-- transaction. It only adds: the release before goes on beside it. What that stores keeps the due
-- time it had, and a look judges by what the row says then.

ALTER TABLE grant_upkeep
    ADD COLUMN due_time timestamptz,
    ADD COLUMN planned boolean NOT NULL DEFAULT false,
    ADD COLUMN last_used_time timestamptz,
    ADD COLUMN warned_generation bigint;
-- Of rows that somebody inserts who does not know the column.
ALTER TABLE grant_upkeep ALTER COLUMN due_time SET DEFAULT clock_timestamp() + interval '15 min';
-- A queue: many small changes, read from its old end.
ALTER TABLE grant_upkeep SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

-- Grants that were there before are looked at within a day, not all in one tick. Forced row-level
-- security hides the rows from their owner too, who must see them here.
ALTER TABLE grants NO FORCE ROW LEVEL SECURITY;
ALTER TABLE grant_upkeep NO FORCE ROW LEVEL SECURITY;
INSERT INTO grant_upkeep AS u (grant_id, tenant, due_time)
    SELECT grant_id, tenant, clock_timestamp() + random() * interval '1 day'
    FROM grants WHERE state = 1
    ON CONFLICT (grant_id) DO UPDATE SET due_time = excluded.due_time;
ALTER TABLE grants FORCE ROW LEVEL SECURITY;
ALTER TABLE grant_upkeep FORCE ROW LEVEL SECURITY;

CREATE INDEX grant_upkeep_due ON grant_upkeep (due_time) WHERE due_time IS NOT NULL;

-- Slots for background requests, one row for an OAuthClient, common to all replicas.
CREATE TABLE refresh_plans (
    tenant        text NOT NULL,
    oauth_client  text NOT NULL,
    run_until     timestamptz NOT NULL DEFAULT '-infinity',
    planned_until timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (tenant, oauth_client),
    FOREIGN KEY (tenant, oauth_client) REFERENCES oauth_clients
)
WITH (fillfactor = 50);

-- Row-level security ------------------------------------------------------------------------------
ALTER TABLE refresh_plans ENABLE ROW LEVEL SECURITY;
ALTER TABLE refresh_plans FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON refresh_plans TO tokenvault_app, tokenvault_owner
    USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
CREATE POLICY all_tenants ON refresh_plans TO tokenvault_worker USING (true) WITH CHECK (true);
CREATE POLICY all_tenants ON oauth_clients FOR SELECT TO tokenvault_worker USING (true);
CREATE POLICY all_tenants ON providers FOR SELECT TO tokenvault_worker USING (true);

-- Least privilege ---------------------------------------------------------------------------------
GRANT SELECT ON refresh_plans TO tokenvault_app;
GRANT SELECT, INSERT, UPDATE ON refresh_plans TO tokenvault_worker;
GRANT UPDATE (due_time, planned, last_used_time) ON grant_upkeep TO tokenvault_worker;
GRANT SELECT (tenant, oauth_client, suspend_time) ON oauth_clients TO tokenvault_worker;
GRANT SELECT (tenant, provider, profile) ON providers TO tokenvault_worker;
