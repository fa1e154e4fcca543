"""The 3-D Secure server: JSON over HTTPS, behind the gateway's ports."""

from adapters.threeds.client import ThreeDSClient, connect
from adapters.threeds.server import HttpThreeDSServer

__all__ = ["HttpThreeDSServer", "ThreeDSClient", "connect"]
