"""Background work: readiness, revocations at providers, sweeping. Every loop is bounded."""
