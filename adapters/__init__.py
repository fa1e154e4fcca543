"""What stands behind the gateway's ports: one package for each outside system or engine."""
