"""A stateful simulator of Thales D1: its token endpoint, its cards, its notifications, and faults on demand."""
