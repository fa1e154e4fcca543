"""Keeps grpc's core from writing to standard error; imports no grpc, which reads the choice when it is imported."""

import os
from typing import Final

__all__ = ["silence_core"]

_VARIABLE: Final = "GRPC_VERBOSITY"


def silence_core() -> None:
    """Have grpc's core write nothing, unless the environment says else.

    It writes text, for example of each failed handshake, past the log and without a limit. What fails for the gateway
    reaches it as a status or an exception all the same.
    """
    os.environ.setdefault(_VARIABLE, "NONE")
