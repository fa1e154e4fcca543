"""The rules of EMV 3DS messages: tables per message and version, and the checks that apply them.

The tables in ``data/`` hold the fields of every message in the versions 2.1.0, 2.2.0 and 2.3.1: whether a field is
required in a channel and category or under a condition, and which values are valid.
"""
