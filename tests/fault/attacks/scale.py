"""How long the attacks last."""

import os
from typing import Final

__all__ = ["SCALE"]

SCALE: Final = int(os.environ.get("D1_ATTACK_SCALE", "1"))
"""Multiplies the rounds of every attack: 1 for each run of the tests, more for `make attack`."""
