"""Notifications on their way from the event log to watchers: cursors, filters, batches, failover."""
