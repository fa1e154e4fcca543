"""Thales D1, both ways: ``api`` is what the gateway calls, ``callbacks`` is what D1 calls here."""
