"""A stateful simulator of Thales D1: cards, consumers, purchases, notifications, callbacks and faults on demand."""
