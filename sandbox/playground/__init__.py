"""``d1-gateway sandbox``: simulators and a gateway to build against, in a folder that is kept."""

from sandbox.playground.errors import PlaygroundError
from sandbox.playground.run import Choices, playground

__all__ = ["Choices", "PlaygroundError", "playground"]
