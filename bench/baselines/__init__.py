"""Servers that do less than the gateway, each in its own process."""
