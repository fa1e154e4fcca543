"""Certificates and keys: loading, validation, reloading, generation."""
