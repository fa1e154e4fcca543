"""One servicer per service of the contracts."""
