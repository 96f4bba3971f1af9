-- The tables of the main job. Run by tokenvault_owner inside one transaction.
-- Every table carries its tenant, and row-level security stands behind every predicate:
--   tokenvault_app and the owner see the rows of the tenant set in this transaction,
--   tokenvault_worker and tokenvault_disclosure see what their work needs.

CREATE FUNCTION current_tenant() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN NULLIF(current_setting('tokenvault.tenant', true), '');

CREATE TABLE tenants (
    tenant      text PRIMARY KEY CHECK (tenant ~ '^[a-z][a-z0-9-]{0,62}$'),
    create_time timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE deks (
    dek_id      bytea PRIMARY KEY CHECK (length(dek_id) = 16),
    tenant      text NOT NULL REFERENCES tenants,
    level       text NOT NULL CHECK (level IN ('app', 'user')),
    owner       text NOT NULL CHECK ((owner = '') = (level = 'app')),
    wrapped     text NOT NULL,
    kek_version integer NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (tenant, level, owner)
);

CREATE TABLE providers (
    tenant      text NOT NULL REFERENCES tenants,
    provider    text NOT NULL,
    profile     jsonb NOT NULL,
    revision    bigint NOT NULL DEFAULT 1,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, provider)
);

CREATE TABLE oauth_clients (
    tenant              text NOT NULL REFERENCES tenants,
    oauth_client        text NOT NULL,
    provider            text NOT NULL,
    issuer              text NOT NULL,
    client_id           text NOT NULL,
    auth_method         smallint NOT NULL,
    redirect_uris       text[] NOT NULL,
    scopes              text[] NOT NULL,
    credential_envelope bytea NOT NULL,
    credential_version  bigint NOT NULL,
    revision            bigint NOT NULL DEFAULT 1,
    create_time         timestamptz NOT NULL DEFAULT clock_timestamp(),
    update_time         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, oauth_client),
    FOREIGN KEY (tenant, provider) REFERENCES providers,
    -- One registration has one holder: two would present one refresh token.
    CONSTRAINT one_holder_per_registration UNIQUE (issuer, client_id)
);

CREATE TABLE grants (
    grant_id            uuid PRIMARY KEY,
    tenant              text NOT NULL REFERENCES tenants,
    owner               text NOT NULL,
    oauth_client        text NOT NULL,
    provider            text NOT NULL,
    issuer              text NOT NULL,
    token_endpoint      text NOT NULL,
    subject             text,
    state               smallint NOT NULL,
    cause               smallint,
    scopes              text[] NOT NULL,
    token_type          text NOT NULL,
    revision            bigint NOT NULL DEFAULT 1,
    generation          bigint NOT NULL,
    access_envelope     bytea,
    access_generation   bigint NOT NULL,
    access_expire_time  timestamptz,
    access_life_s       integer NOT NULL,
    refresh_envelope    bytea,
    refresh_generation  bigint NOT NULL,
    provider_revocation smallint NOT NULL DEFAULT 0,
    create_time         timestamptz NOT NULL DEFAULT clock_timestamp(),
    update_time         timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (tenant, oauth_client) REFERENCES oauth_clients,
    -- What points at a grant names its tenant too: no pointer crosses tenants.
    UNIQUE (tenant, grant_id),
    -- A tombstone keeps nothing that opens (state 3 is REVOKED).
    CONSTRAINT tombstone_is_empty
        CHECK (state <> 3 OR (access_envelope IS NULL AND refresh_envelope IS NULL))
);
CREATE UNIQUE INDEX one_live_grant_per_subject
    ON grants (tenant, oauth_client, subject) WHERE subject IS NOT NULL AND state <> 3;
CREATE INDEX grants_by_owner ON grants (tenant, owner, grant_id);

CREATE TABLE grant_aliases (
    tenant      text NOT NULL REFERENCES tenants,
    owner       text NOT NULL,
    label       text NOT NULL,
    grant_id    uuid NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, owner, label),
    FOREIGN KEY (tenant, grant_id) REFERENCES grants (tenant, grant_id)
);
CREATE INDEX grant_aliases_by_grant ON grant_aliases (grant_id);

-- Leases live apart: taking one must not change a grant's revision. A fence of 0 holds nothing.
CREATE SEQUENCE fences;
CREATE TABLE grant_leases (
    grant_id    uuid PRIMARY KEY,
    tenant      text NOT NULL,
    instance    text NOT NULL,
    fence       bigint NOT NULL,
    lease_until timestamptz NOT NULL,
    FOREIGN KEY (tenant, grant_id) REFERENCES grants (tenant, grant_id)
);

CREATE TABLE authorizations (
    state_hash        bytea PRIMARY KEY CHECK (length(state_hash) = 32),
    authorization_id  uuid NOT NULL UNIQUE,
    tenant            text NOT NULL REFERENCES tenants,
    caller            text NOT NULL,
    owner             text NOT NULL,
    label             text NOT NULL,
    oauth_client      text NOT NULL,
    provider          text NOT NULL,
    redirect_uri      text NOT NULL,
    scopes            text[] NOT NULL,
    nonce             text NOT NULL,
    verifier_envelope bytea NOT NULL,
    create_time       timestamptz NOT NULL DEFAULT clock_timestamp(),
    expire_time       timestamptz NOT NULL,
    code_hash         bytea,
    claim_time        timestamptz,
    grant_id          uuid,
    FOREIGN KEY (tenant, oauth_client) REFERENCES oauth_clients,
    FOREIGN KEY (tenant, grant_id) REFERENCES grants (tenant, grant_id)
);
CREATE INDEX authorizations_by_expiry ON authorizations (expire_time);

CREATE TABLE provider_revocations (
    queue_id          uuid PRIMARY KEY,
    tenant            text NOT NULL,
    grant_id          uuid NOT NULL,
    refresh_envelope  bytea NOT NULL,
    generation        bigint NOT NULL,
    attempts          integer NOT NULL DEFAULT 0,
    next_attempt_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    expire_time       timestamptz NOT NULL,
    FOREIGN KEY (tenant, grant_id) REFERENCES grants (tenant, grant_id)
);
CREATE INDEX provider_revocations_due ON provider_revocations (next_attempt_time);
CREATE INDEX provider_revocations_by_grant ON provider_revocations (grant_id);

CREATE TABLE secret_versions (
    tenant      text NOT NULL REFERENCES tenants,
    level       text NOT NULL CHECK (level IN ('app', 'user')),
    owner       text NOT NULL CHECK ((owner = '') = (level = 'app')),
    secret      text NOT NULL,
    version     bigint NOT NULL CHECK (version > 0),
    envelope    bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, level, owner, secret, version)
);

CREATE TABLE audit_records (
    record_id          uuid PRIMARY KEY,
    record_time        timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenant             text NOT NULL,
    action             smallint NOT NULL,
    outcome            smallint NOT NULL,
    reason             text NOT NULL,
    caller             text NOT NULL,
    certificate_serial text NOT NULL,
    source             text NOT NULL,
    rpc                text NOT NULL,
    request_id         text NOT NULL,
    resource           text NOT NULL,
    deployment         text NOT NULL,
    instance           text NOT NULL,
    token_fingerprint  text NOT NULL,
    detail             jsonb NOT NULL
);
CREATE INDEX audit_records_by_tenant ON audit_records (tenant, record_id);

-- Row-level security ---------------------------------------------------------------------------
DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY[
        'tenants', 'deks', 'providers', 'oauth_clients', 'grants', 'grant_aliases', 'grant_leases',
        'authorizations', 'provider_revocations', 'secret_versions', 'audit_records'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I TO tokenvault_app, tokenvault_owner '
            'USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant())', guarded);
    END LOOP;
    -- The worker looks over all tenants for what is due, and changes it as tokenvault_app.
    FOREACH guarded IN ARRAY ARRAY['grants', 'authorizations', 'provider_revocations'] LOOP
        EXECUTE format(
            'CREATE POLICY all_tenants ON %I TO tokenvault_worker USING (true) WITH CHECK (true)',
            guarded);
    END LOOP;
END
$$;
CREATE POLICY disclosed ON grants TO tokenvault_disclosure USING (true);
CREATE POLICY recorded ON audit_records FOR INSERT TO tokenvault_disclosure WITH CHECK (true);

-- Least privilege -------------------------------------------------------------------------------
GRANT USAGE ON SCHEMA tokenvault TO tokenvault_app, tokenvault_worker;
GRANT SELECT ON tenants, deks, providers, oauth_clients, grants, grant_aliases, grant_leases,
    authorizations, provider_revocations, secret_versions, audit_records TO tokenvault_app;
GRANT INSERT ON deks, providers, oauth_clients, grants, grant_aliases, grant_leases,
    authorizations, provider_revocations, secret_versions, audit_records TO tokenvault_app;
GRANT UPDATE ON providers, oauth_clients, grants, grant_aliases, grant_leases, authorizations,
    provider_revocations TO tokenvault_app;
GRANT DELETE ON provider_revocations TO tokenvault_app;
GRANT USAGE ON SEQUENCE fences TO tokenvault_app;

GRANT SELECT ON grants, provider_revocations, authorizations TO tokenvault_worker;
GRANT UPDATE (next_attempt_time) ON provider_revocations TO tokenvault_worker;
-- FOR UPDATE asks for the right to update one column.
GRANT UPDATE (claim_time), DELETE ON authorizations TO tokenvault_worker;

-- FOR SHARE asks for the right to update one column.
GRANT SELECT, UPDATE (update_time) ON grants TO tokenvault_disclosure;
GRANT INSERT ON audit_records TO tokenvault_disclosure;

-- One round trip -----------------------------------------------------------------------------------
-- The reads of GetAccessToken, which happen before every disclosure: setting the tenant and reading
-- its row in one call. They run as the caller, so row-level security judges them like any SELECT.
CREATE FUNCTION find_grant(asked_tenant text, asked_grant_id uuid) RETURNS SETOF grants
    LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM set_config('tokenvault.tenant', asked_tenant, true);
    RETURN QUERY SELECT g.* FROM grants g
        WHERE g.tenant = asked_tenant AND g.grant_id = asked_grant_id;
END
$$;
CREATE FUNCTION find_grant_by_alias(asked_tenant text, asked_owner text, asked_label text)
    RETURNS SETOF grants
    LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM set_config('tokenvault.tenant', asked_tenant, true);
    RETURN QUERY SELECT g.* FROM grant_aliases a
        JOIN grants g ON g.tenant = a.tenant AND g.grant_id = a.grant_id
        WHERE a.tenant = asked_tenant AND a.owner = asked_owner AND a.label = asked_label;
END
$$;
REVOKE ALL ON FUNCTION find_grant, find_grant_by_alias FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_grant, find_grant_by_alias TO tokenvault_app;

-- The disclosure statement ------------------------------------------------------------------------
-- One call for a batch of records of mixed tenants. Entries with a grant are accepted only where
-- that grant is ACTIVE at the revision the caller read; the rows stay locked until commit, so no
-- disclosure commits after a revocation. Entries without one (denials, secrets) are always
-- written. Returns the ordinals (from 1) that were accepted.
CREATE FUNCTION disclose(
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
        WHERE a.grant_id IS NULL OR (g.state = 1 AND g.revision = a.revision)
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
REVOKE ALL ON FUNCTION disclose FROM PUBLIC;
GRANT EXECUTE ON FUNCTION disclose TO tokenvault_app;
-- The new owner needs the right to create in the schema only for the moment of the change.
GRANT USAGE, CREATE ON SCHEMA tokenvault TO tokenvault_disclosure;
ALTER FUNCTION disclose OWNER TO tokenvault_disclosure;
REVOKE CREATE ON SCHEMA tokenvault FROM tokenvault_disclosure;
