"""One servicer for each service of the contracts."""
