"""The demonstration of a cluster: two gateways that share three NATS servers, of which one of each is killed."""

from sandbox.demo.cluster.walk import demo_cluster

__all__ = ["demo_cluster"]
