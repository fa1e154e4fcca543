"""Metrics, traces, readiness, and the admin server that publishes them."""
