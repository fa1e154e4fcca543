"""The cost of storing a notification and of passing on a callback, beside servers that do less: ``python -m bench``."""
