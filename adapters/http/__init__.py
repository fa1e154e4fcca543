"""Calls to upstreams over HTTP: connections, admission, retries, circuit breaker."""
