"""What EMV 3DS asks of its messages, as data: rule tables per message and version, and what checks by them.

The tables in ``data/`` hold the fields of every message in the versions 2.1.0, 2.2.0 and 2.3.1: whether a field is
required in a channel and category or under a condition, and what its values have to be.
"""
