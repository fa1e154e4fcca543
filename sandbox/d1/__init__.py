"""A stateful simulator of Thales D1: cards, consumers, purchases, what D1 tells and asks, and faults on demand."""
