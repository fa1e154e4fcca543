"""Leases of named subscriptions, in a bucket."""
