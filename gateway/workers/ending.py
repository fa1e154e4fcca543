"""How the processes of workers and supervisor end."""

import sys
from collections.abc import Callable

from gateway.settings import SettingsError

__all__ = ["exit_status"]


def exit_status(run: Callable[[], int]) -> int:
    """Run what a process is for, and tell on standard error why it cannot; returns the exit status."""
    try:
        return run()
    except SettingsError as error:
        sys.stderr.writelines(f"d1-gateway: {mistake}\n" for mistake in error.mistakes)
        return 2
    except OSError as error:
        sys.stderr.write(f"d1-gateway: {error}\n")
        return 1
