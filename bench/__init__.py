"""The cost of taking notifications and relaying callbacks, compared with servers that do less: ``python -m bench``."""
