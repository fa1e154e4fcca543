"""Logging."""

from typing import Literal

from gateway.settings.types import Table

__all__ = ["LoggingSettings"]


class LoggingSettings(Table):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level to log."""
