"""Certificates and keys: loaded, checked, watched for changes, generated."""
