"""Callbacks between gateways: what each sends its peers, and what it makes of what they send. No I/O."""
