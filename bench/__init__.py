"""What it costs to take a notification and to pass on a question, beside servers that do less: ``python -m bench``."""
