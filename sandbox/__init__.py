"""Simulators of the upstream systems, for tests and demonstrations: throw-away keys, loopback only, in memory."""

from sandbox.sandbox import Sandbox

__all__ = ["Sandbox"]
