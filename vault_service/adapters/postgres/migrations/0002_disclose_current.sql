-- A disclosure decided from memory is as good as one decided from a row read just now, if the
-- statement that makes it durable checks all that memory cannot know: that the grant is ACTIVE at
-- that revision, and that the alias it was asked by still points at it (moving an alias changes no
-- revision of a grant). disclose() of 0001 stays for the release before.
CREATE FUNCTION disclose_current(
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
            g.state = 1 AND g.revision = a.revision AND (
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
CREATE POLICY disclosed ON grant_aliases FOR SELECT TO tokenvault_disclosure USING (true);
GRANT SELECT ON grant_aliases TO tokenvault_disclosure;

REVOKE ALL ON FUNCTION disclose_current FROM PUBLIC;
GRANT EXECUTE ON FUNCTION disclose_current TO tokenvault_app;
-- The new owner needs the right to create in the schema only for the moment of the change.
GRANT CREATE ON SCHEMA tokenvault TO tokenvault_disclosure;
ALTER FUNCTION disclose_current OWNER TO tokenvault_disclosure;
REVOKE CREATE ON SCHEMA tokenvault FROM tokenvault_disclosure;
