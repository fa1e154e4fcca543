"""Callbacks across the gateways of a cluster, without I/O."""
