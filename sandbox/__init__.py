"""A simulator of the outside systems, for tests and demonstrations: throw-away keys, loopback only, nothing kept."""

from sandbox.sandbox import Sandbox

__all__ = ["Sandbox"]
