"""A worker's process: ``python -m gateway.workers.worker PLACE``. Only a supervisor starts it."""

import sys
from functools import partial

from gateway.bootstrap.serve import serve
from gateway.settings import load
from gateway.workers.ending import exit_status
from gateway.workers.place import Place

__all__ = ["main"]


def main(place: Place) -> int:
    """Serve in a place until told otherwise; returns the exit status.

    Raises:
        SettingsError: The settings cannot be used.
        OSError: A port cannot be had.
    """
    settings = load(place.config_file)
    grpc = settings.grpc.model_copy(update={"port": place.grpc_port})
    serve(settings.model_copy(update={"grpc": grpc}), place)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(partial(main, Place.from_argument(sys.argv[1]))))
