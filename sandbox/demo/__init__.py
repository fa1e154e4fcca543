"""The demonstration: cards, authentications, purchases and notifications through a real gateway process."""

from sandbox.demo.guide import Guide, NobodyWatchesError
from sandbox.demo.walk import demo

__all__ = ["Guide", "NobodyWatchesError", "demo"]
