"""The gRPC side: one module a service."""
