"""Leases of subscriptions, kept in a bucket."""
