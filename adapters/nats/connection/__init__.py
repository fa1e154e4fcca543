"""The connection to the NATS servers, and requests over it."""
