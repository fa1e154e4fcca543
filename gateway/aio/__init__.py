"""Helpers for asyncio that know nothing of the gateway: addresses, clock, periodic work, signals."""
