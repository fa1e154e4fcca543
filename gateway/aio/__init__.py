"""Helpers for asyncio that know nothing of the gateway: sockets, clock, HTTP connections, signals."""
