"""D1's inbound API."""
