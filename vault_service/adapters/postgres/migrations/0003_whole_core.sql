-- Secrets whole, overlapping client credentials, suspension, deleted grants. Run by
-- tokenvault_owner inside one transaction. It only adds: the release before this one goes on
-- beside it, and a secret that it stores is noted by a trigger.

-- Secrets -----------------------------------------------------------------------------------------
CREATE TABLE secrets (
    tenant      text NOT NULL REFERENCES tenants,
    level       text NOT NULL CHECK (level IN ('app', 'user')),
    owner       text NOT NULL CHECK ((owner = '') = (level = 'app')),
    secret      text NOT NULL,
    version     bigint NOT NULL CHECK (version >= 0),
    labels      jsonb NOT NULL DEFAULT '{}',
    revision    bigint NOT NULL DEFAULT 1,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    delete_time timestamptz,
    PRIMARY KEY (tenant, level, owner, secret)
);
-- Pages of ids in the order of their bytes.
CREATE INDEX secrets_by_id ON secrets (tenant, level, owner, secret COLLATE "C")
    WHERE delete_time IS NULL;

ALTER TABLE secret_versions
    ALTER COLUMN envelope DROP NOT NULL,
    ADD COLUMN expire_time timestamptz,
    ADD COLUMN destroy_time timestamptz,
    ADD COLUMN reminded boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT destroyed_is_empty CHECK ((destroy_time IS NULL) = (envelope IS NOT NULL));
CREATE INDEX secret_versions_by_expiry ON secret_versions (expire_time)
    WHERE expire_time IS NOT NULL AND destroy_time IS NULL AND NOT reminded;

-- Forced row-level security hides the rows from their owner too, who must count them here.
ALTER TABLE secret_versions NO FORCE ROW LEVEL SECURITY;
INSERT INTO secrets (tenant, level, owner, secret, version, create_time, update_time)
    SELECT tenant, level, owner, secret, max(version), min(create_time), max(create_time)
    FROM secret_versions GROUP BY tenant, level, owner, secret;
ALTER TABLE secret_versions FORCE ROW LEVEL SECURITY;

CREATE FUNCTION note_secret_version() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO tokenvault.secrets AS s (tenant, level, owner, secret, version)
        VALUES (NEW.tenant, NEW.level, NEW.owner, NEW.secret, NEW.version)
        ON CONFLICT (tenant, level, owner, secret) DO UPDATE SET
            version = excluded.version, delete_time = NULL, revision = s.revision + 1,
            update_time = clock_timestamp()
        WHERE s.version < excluded.version;
    RETURN NEW;
END
$$;
CREATE TRIGGER noted BEFORE INSERT ON secret_versions
    FOR EACH ROW EXECUTE FUNCTION note_secret_version();

ALTER TABLE secret_versions
    ADD FOREIGN KEY (tenant, level, owner, secret) REFERENCES secrets;

-- A value leaves, and no other takes its place: whoever may destroy still cannot exchange.
CREATE FUNCTION keep_secret_value() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.envelope IS NOT NULL AND NEW.envelope IS DISTINCT FROM OLD.envelope THEN
        RAISE EXCEPTION 'a stored value is destroyed or stays' USING ERRCODE = '42501';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER kept BEFORE UPDATE ON secret_versions
    FOR EACH ROW EXECUTE FUNCTION keep_secret_value();

CREATE TABLE secret_requests (
    tenant      text NOT NULL REFERENCES tenants,
    caller      text NOT NULL,
    request_id  text NOT NULL,
    digest      text NOT NULL,
    level       text NOT NULL,
    owner       text NOT NULL,
    secret      text NOT NULL,
    version     bigint NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, caller, request_id)
);
CREATE INDEX secret_requests_by_age ON secret_requests (create_time);

-- Client credentials ------------------------------------------------------------------------------
-- The row of oauth_clients keeps the one in use. Here are the ones beside it, and tombstones of
-- those that were retired, so that no number is given twice.
CREATE TABLE client_credentials (
    tenant       text NOT NULL REFERENCES tenants,
    oauth_client text NOT NULL,
    version      bigint NOT NULL CHECK (version > 0),
    envelope     bytea,
    create_time  timestamptz,
    retire_time  timestamptz,
    PRIMARY KEY (tenant, oauth_client, version),
    FOREIGN KEY (tenant, oauth_client) REFERENCES oauth_clients,
    CONSTRAINT retired_is_empty CHECK ((retire_time IS NULL) = (envelope IS NOT NULL))
);
ALTER TABLE oauth_clients
    ADD COLUMN credential_time timestamptz,
    ADD COLUMN suspend_time timestamptz;
-- Nearly always empty: asking it in every disclosure costs nothing.
CREATE INDEX oauth_clients_suspended ON oauth_clients (tenant, oauth_client)
    WHERE suspend_time IS NOT NULL;

-- Grants ------------------------------------------------------------------------------------------
ALTER TABLE grants
    ADD COLUMN delete_time timestamptz,
    ADD CONSTRAINT deleted_is_revoked CHECK (delete_time IS NULL OR state = 3);
CREATE INDEX grants_by_client ON grants (tenant, oauth_client, grant_id) WHERE delete_time IS NULL;
CREATE INDEX grants_by_provider ON grants (tenant, provider, grant_id) WHERE delete_time IS NULL;
CREATE INDEX grants_by_state ON grants (tenant, state, grant_id) WHERE delete_time IS NULL;

-- Row-level security ------------------------------------------------------------------------------
DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['secrets', 'secret_requests', 'client_credentials'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I TO tokenvault_app, tokenvault_owner '
            'USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant())', guarded);
    END LOOP;
    FOREACH guarded IN ARRAY ARRAY['secrets', 'secret_versions'] LOOP
        EXECUTE format(
            'CREATE POLICY all_tenants ON %I FOR SELECT TO tokenvault_worker USING (true)',
            guarded);
    END LOOP;
END
$$;
CREATE POLICY all_tenants ON secret_requests TO tokenvault_worker USING (true) WITH CHECK (true);
CREATE POLICY disclosed ON secret_versions TO tokenvault_disclosure USING (true);
CREATE POLICY disclosed ON oauth_clients FOR SELECT TO tokenvault_disclosure USING (true);

-- Least privilege ---------------------------------------------------------------------------------
GRANT SELECT, INSERT, UPDATE ON secrets TO tokenvault_app;
GRANT UPDATE (envelope, destroy_time, reminded) ON secret_versions TO tokenvault_app;
GRANT SELECT, INSERT ON secret_requests TO tokenvault_app;
GRANT SELECT, INSERT, UPDATE (envelope, retire_time) ON client_credentials TO tokenvault_app;
GRANT DELETE ON grant_aliases TO tokenvault_app;

-- The worker finds what expires, and never reads an envelope.
GRANT SELECT (tenant, level, owner, secret, version, delete_time) ON secrets TO tokenvault_worker;
GRANT SELECT (tenant, level, owner, secret, version, expire_time, destroy_time, reminded)
    ON secret_versions TO tokenvault_worker;
GRANT SELECT (tenant, caller, request_id, create_time), DELETE ON secret_requests
    TO tokenvault_worker;

GRANT SELECT (tenant, oauth_client, suspend_time) ON oauth_clients TO tokenvault_disclosure;
-- FOR SHARE asks for the right to update one column.
GRANT SELECT (tenant, level, owner, secret, version, expire_time, destroy_time),
    UPDATE (reminded) ON secret_versions TO tokenvault_disclosure;
REVOKE ALL ON FUNCTION note_secret_version, keep_secret_value FROM PUBLIC;

-- The disclosure statements -----------------------------------------------------------------------
GRANT USAGE, CREATE ON SCHEMA tokenvault TO tokenvault_disclosure;
SET LOCAL ROLE tokenvault_disclosure;

-- As before, and not for a grant whose OAuthClient is suspended.
CREATE OR REPLACE FUNCTION tokenvault.disclose(
    ordinals integer[], grant_ids uuid[], revisions bigint[],
    record_ids uuid[], tenant_ids text[], actions smallint[], outcomes smallint[], reasons text[],
    callers text[], serials text[], sources text[], rpcs text[], request_ids text[],
    resources text[], deployments text[], instances text[], fingerprints text[], details text[]
) RETURNS SETOF integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A fixed order of locking: two batches never wait for each other in a circle.
    PERFORM 1 FROM tokenvault.grants g
        WHERE g.grant_id = ANY (grant_ids) ORDER BY g.grant_id FOR SHARE;
    -- A new statement, so a new snapshot: it sees what the locks above waited for.
    RETURN QUERY
    WITH asked AS (
        SELECT * FROM unnest(
            ordinals, grant_ids, revisions, record_ids, tenant_ids, actions, outcomes, reasons,
            callers, serials, sources, rpcs, request_ids, resources, deployments, instances,
            fingerprints, details
        ) AS a (ordinal, grant_id, revision, record_id, tenant, action, outcome, reason, caller,
                certificate_serial, source, rpc, request_id, resource, deployment, instance,
                token_fingerprint, detail)
    ), accepted AS (
        SELECT a.* FROM asked a
        LEFT JOIN tokenvault.grants g
            ON g.grant_id = a.grant_id AND g.tenant = a.tenant
        WHERE a.grant_id IS NULL OR (
            g.state = 1 AND g.revision = a.revision AND NOT EXISTS (
                SELECT FROM tokenvault.oauth_clients c
                WHERE c.tenant = g.tenant AND c.oauth_client = g.oauth_client
                    AND c.suspend_time IS NOT NULL))
    ), written AS (
        INSERT INTO tokenvault.audit_records (
            record_id, tenant, action, outcome, reason, caller, certificate_serial, source, rpc,
            request_id, resource, deployment, instance, token_fingerprint, detail)
        SELECT record_id, tenant, action, outcome, reason, caller, certificate_serial, source, rpc,
            request_id, resource, deployment, instance, token_fingerprint, detail::jsonb
        FROM accepted
    )
    SELECT a.ordinal FROM accepted a;
END
$$;

CREATE OR REPLACE FUNCTION tokenvault.disclose_current(
    ordinals integer[], grant_ids uuid[], revisions bigint[],
    alias_owners text[], alias_labels text[],
    record_ids uuid[], tenant_ids text[], actions smallint[], outcomes smallint[], reasons text[],
    callers text[], serials text[], sources text[], rpcs text[], request_ids text[],
    resources text[], deployments text[], instances text[], fingerprints text[], details text[]
) RETURNS SETOF integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A fixed order of locking: two batches never wait for each other in a circle.
    PERFORM 1 FROM tokenvault.grants g
        WHERE g.grant_id = ANY (grant_ids) ORDER BY g.grant_id FOR SHARE;
    -- A new statement, so a new snapshot: it sees what the locks above waited for.
    RETURN QUERY
    WITH asked AS (
        SELECT * FROM unnest(
            ordinals, grant_ids, revisions, alias_owners, alias_labels, record_ids, tenant_ids,
            actions, outcomes, reasons, callers, serials, sources, rpcs, request_ids, resources,
            deployments, instances, fingerprints, details
        ) AS a (ordinal, grant_id, revision, alias_owner, alias_label, record_id, tenant, action,
                outcome, reason, caller, certificate_serial, source, rpc, request_id, resource,
                deployment, instance, token_fingerprint, detail)
    ), accepted AS (
        SELECT a.* FROM asked a
        LEFT JOIN tokenvault.grants g
            ON g.grant_id = a.grant_id AND g.tenant = a.tenant
        WHERE a.grant_id IS NULL OR (
            g.state = 1 AND g.revision = a.revision AND NOT EXISTS (
                SELECT FROM tokenvault.oauth_clients c
                WHERE c.tenant = g.tenant AND c.oauth_client = g.oauth_client
                    AND c.suspend_time IS NOT NULL) AND (
                a.alias_owner IS NULL OR EXISTS (
                    SELECT FROM tokenvault.grant_aliases n
                    WHERE n.tenant = a.tenant AND n.owner = a.alias_owner
                        AND n.label = a.alias_label AND n.grant_id = a.grant_id)))
    ), written AS (
        INSERT INTO tokenvault.audit_records (
            record_id, tenant, action, outcome, reason, caller, certificate_serial, source, rpc,
            request_id, resource, deployment, instance, token_fingerprint, detail)
        SELECT record_id, tenant, action, outcome, reason, caller, certificate_serial, source, rpc,
            request_id, resource, deployment, instance, token_fingerprint, detail::jsonb
        FROM accepted
    )
    SELECT a.ordinal FROM accepted a;
END
$$;

-- The same for versions of secrets: each entry names one, which must have its value, not expired;
-- the rows stay locked until commit, so no disclosure commits after a destruction.
CREATE FUNCTION tokenvault.disclose_secrets(
    ordinals integer[], levels text[], owners text[], secret_ids text[], versions bigint[],
    record_ids uuid[], tenant_ids text[], actions smallint[], outcomes smallint[], reasons text[],
    callers text[], serials text[], sources text[], rpcs text[], request_ids text[],
    resources text[], deployments text[], instances text[], fingerprints text[], details text[]
) RETURNS SETOF integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM 1 FROM tokenvault.secret_versions v
        WHERE (v.tenant, v.level, v.owner, v.secret, v.version) IN (
            SELECT * FROM unnest(tenant_ids, levels, owners, secret_ids, versions))
        ORDER BY v.tenant, v.level, v.owner, v.secret, v.version FOR SHARE;
    RETURN QUERY
    WITH asked AS (
        SELECT * FROM unnest(
            ordinals, levels, owners, secret_ids, versions, record_ids, tenant_ids, actions,
            outcomes, reasons, callers, serials, sources, rpcs, request_ids, resources, deployments,
            instances, fingerprints, details
        ) AS a (ordinal, level, owner, secret, version, record_id, tenant, action, outcome, reason,
                caller, certificate_serial, source, rpc, request_id, resource, deployment, instance,
                token_fingerprint, detail)
    ), accepted AS (
        SELECT a.* FROM asked a
        JOIN tokenvault.secret_versions v ON v.tenant = a.tenant AND v.level = a.level
            AND v.owner = a.owner AND v.secret = a.secret AND v.version = a.version
        WHERE v.destroy_time IS NULL
            AND (v.expire_time IS NULL OR v.expire_time > clock_timestamp())
    ), written AS (
        INSERT INTO tokenvault.audit_records (
            record_id, tenant, action, outcome, reason, caller, certificate_serial, source, rpc,
            request_id, resource, deployment, instance, token_fingerprint, detail)
        SELECT record_id, tenant, action, outcome, reason, caller, certificate_serial, source, rpc,
            request_id, resource, deployment, instance, token_fingerprint, detail::jsonb
        FROM accepted
    )
    SELECT a.ordinal FROM accepted a;
END
$$;
REVOKE ALL ON FUNCTION tokenvault.disclose_secrets FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tokenvault.disclose_secrets TO tokenvault_app;

RESET ROLE;
REVOKE CREATE ON SCHEMA tokenvault FROM tokenvault_disclosure;
