"""The clients of the measured servers: the load, watchers, and a handler."""
