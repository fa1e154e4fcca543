"""Why a sandbox cannot start."""

__all__ = ["PlaygroundError"]


class PlaygroundError(Exception):
    """The sandbox cannot start as asked. Each of ``args`` is a line that says why, and what to do."""
