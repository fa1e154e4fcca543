"""The demonstration: cards, authentications and notifications, through a real gateway process."""

from sandbox.demo.walk import demo

__all__ = ["demo"]
