"""Questions between gateways: what each tells the others, and what it makes of what they tell. No I/O."""
