"""The backfill: what the event log lacks is fetched from D1's history of 3DS operations."""

from typing import Annotated

from pydantic import Field

from gateway.settings.types import Seconds, Table

__all__ = ["BackfillSettings"]


class BackfillSettings(Table):
    """The backfill: what D1 could not deliver is fetched from its history. See docs/backfill.md."""

    enabled: bool = True
    """Whether the gateway fetches by itself, after outages, losses and refused notifications.
    `BackfillNotifications` works in any case."""
    calls_per_second: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 5.0
    """Calls to D1 per second and issuer for all backfills of this gateway. A card takes one call for its newest
    10 operations, and another for each further 50."""
    outage_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 60.0
    """How long no gateway took notifications before their cards are read. Also the time in which D1 may repeat a
    notification that was refused, before its card is read."""
    active_card_seconds: Seconds = 30 * 86_400.0
    """Cards to read after an outage or a loss: those with a notification, or a change through the gateway, within this
    time."""
    sweep_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Interval at which the cards are read without a known reason: for a network that was cut between D1 and the
    gateway, which nobody notices. 0: never."""
