"""What is called at D1: its endpoints."""
