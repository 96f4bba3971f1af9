-- Attempts that wait are looked at in turn, a few at a time. Run by tokenvault_owner inside one
-- transaction. It only adds: the release before looks at all of them.

CREATE INDEX refresh_attempts_waiting_in_turn ON refresh_attempts (attempt_id)
    WHERE orphan_envelope IS NOT NULL OR waits_for <> 0;
