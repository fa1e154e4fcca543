"""Structured log lines: format, correlation ids, and a writer that never blocks the event loop."""
