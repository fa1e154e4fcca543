"""What both simulators share: certificates, TLS, an HTTP server, faults, and readers of JSON fields."""
