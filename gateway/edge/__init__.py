"""The HTTPS server for a card platform's callbacks: TLS, client authentication, limits, errors."""
