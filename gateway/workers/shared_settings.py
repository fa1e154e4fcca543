"""The settings with which several workers can serve together."""

from pathlib import Path

from gateway.settings import Settings, SettingsError, load

__all__ = ["load_shared"]


def load_shared(file: Path | None, workers: int) -> Settings:
    """Read the settings; see `gateway.settings.load`.

    Args:
        file: The TOML file; None where everything comes from the environment.
        workers: How many processes are to serve.

    Raises:
        SettingsError: They cannot be used, or not by so many.
    """
    settings = load(file)
    if settings.nats is None and workers > 1:
        why = "the embedded event log belongs to one process, and several keep theirs together in NATS"
        raise SettingsError([f"--workers {workers}: {why}: set [nats], or leave --workers out"])
    return settings
