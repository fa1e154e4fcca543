"""Validation of requests against their contract."""
