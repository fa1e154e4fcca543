"""The demonstration of a cluster: two gateways and three NATS servers, one of each is killed."""

from sandbox.demo.cluster.walk import demo_cluster

__all__ = ["demo_cluster"]
