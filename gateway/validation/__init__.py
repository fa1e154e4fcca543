"""Requests checked against the annotations of their contract."""
