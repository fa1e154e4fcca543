"""Servers that do less than the gateway, each run as a process of its own."""
