"""The connections to one D1 environment."""

import ssl

from adapters.d1.api.errors import D1
from adapters.http.client import HttpExchange
from gateway.ports.meter import Unmeasured, UpstreamMeter
from gateway.settings import UpstreamSettings

__all__ = ["D1Http"]


class D1Http(HttpExchange):
    """Exchanges requests for answers with D1, over mTLS."""

    def __init__(
        self,
        settings: UpstreamSettings,
        tls: ssl.SSLContext | None,
        meter: UpstreamMeter = Unmeasured(),  # noqa: B008  without state
    ) -> None:
        """Prepare the pool; connections are made when they are needed.

        Args:
            settings: Where D1 is, and the limits.
            tls: With the client certificate for mTLS and the trusted authorities; None only for plain HTTP.
            meter: Told of every request.

        Raises:
            ValueError: HTTPS without a TLS context.
        """
        super().__init__(D1, settings, tls, meter)
