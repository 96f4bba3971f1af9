"""The ports, met by real things: a database, a key service, providers, a policy engine."""
