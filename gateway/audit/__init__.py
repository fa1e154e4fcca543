"""The audit trail: an append-only chain of JSON lines about what callers changed, and what they were refused."""
