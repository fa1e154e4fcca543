"""D1's callbacks: their paths and JSON, and their translation to the messages of the contracts."""
