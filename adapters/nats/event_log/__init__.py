"""The event log in a JetStream stream."""
