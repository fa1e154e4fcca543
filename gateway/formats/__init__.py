"""How data is written: JSON from outside, page tokens, and patterns in words."""
