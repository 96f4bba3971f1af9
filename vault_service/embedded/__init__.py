"""The one-command environment: OpenBao, PostgreSQL, a development CA, a demo provider."""
