"""What it costs to take a notification, beside a server that stores nothing: ``python -m bench``."""
