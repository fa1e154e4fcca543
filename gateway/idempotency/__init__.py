"""Idempotency: the first reply to a request id is stored, so that a repeated call is not run twice. No card data."""
