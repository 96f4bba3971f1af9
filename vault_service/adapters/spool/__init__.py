"""The spool: what was sent to a provider and what came back, on this host's disk."""
