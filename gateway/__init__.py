"""The gateway: one typed gRPC door between a card issuer's services, Thales D1 and a 3-D Secure server."""
