"""Callbacks between the gateways of a cluster, over NATS."""
