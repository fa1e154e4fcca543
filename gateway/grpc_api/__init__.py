"""The gRPC API: the server, its interceptors, and one servicer per service."""
