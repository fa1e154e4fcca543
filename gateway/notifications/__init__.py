"""Notifications from the event log to watchers: cursors, filters, batches, subscription failover."""
