"""What calls the servers that are measured: the load, watchers, and a handler."""
