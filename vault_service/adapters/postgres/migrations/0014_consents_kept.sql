-- What a consent asked for, which profile its kept answer was read with last, and the rows that the
-- sweep leaves. Run by tokenvault_owner inside one transaction. It only adds: a grant of before has
-- asked for nothing that is known, and a kept answer of before is read once.

ALTER TABLE grants ADD COLUMN asked_scopes text[] NOT NULL DEFAULT '{}';

ALTER TABLE authorizations
    ADD COLUMN read_revision bigint NOT NULL DEFAULT 0,
    ADD COLUMN read_by integer NOT NULL DEFAULT 0;
CREATE INDEX authorizations_kept ON authorizations (tenant, provider)
    WHERE answer_envelope IS NOT NULL;
-- Those that may still get tokens: their answer is kept in the row, or perhaps in a spool.
CREATE INDEX authorizations_unsettled ON authorizations (tenant, owner, label, oauth_client)
    WHERE claim_id IS NOT NULL AND grant_id IS NULL
        AND (ending IS NULL OR answer_envelope IS NOT NULL);
