"""The cost of a call with more and more calls in flight."""

from pathlib import Path
from typing import Final

from bench.common.results import Row
from bench.unary.calls import CALLS
from bench.unary.h2load import H2Load, Shape
from bench.unary.rounds import Case, Turns
from bench.unary.servers import staged

__all__ = ["measure_in_flight"]

_SHAPES: Final = (Shape(1, 1), Shape(4, 2), Shape(8, 4), Shape(16, 8), Shape(32, 16))
_QUICK_SHAPES: Final = (Shape(1, 1), Shape(8, 4))
_SERVERS: Final = ("gateway", "pass-through")
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2
_SECONDS: Final = 0.5
_WARM_UP_SECONDS: Final = 1.0


async def measure_in_flight(scenario: str, folder: Path, *, quick: bool) -> list[Row]:
    """Suspend cards with so many calls in flight, at the gateway and at a pass-through in turns.

    Args:
        scenario: The scenario's name.
        folder: The folder for files; created here.
        quick: Measure fewer numbers, in fewer rounds.

    Raises:
        MissingToolError: A program is not installed.
        RuntimeError: A server did not start, a request failed, or the upstream was the bottleneck.
    """
    load, suspend = H2Load(folder.parent), CALLS[1]
    shapes, rounds = (_QUICK_SHAPES, _QUICK_ROUNDS) if quick else (_SHAPES, _ROUNDS)
    async with staged(folder, _SERVERS, has_tls=True) as stage:
        turns = Turns(stage, load)
        await turns.warm_up(Case(suspend, shapes[-1], 1, _WARM_UP_SECONDS))
        return [
            row for shape in shapes for row in await turns.measure(scenario, Case(suspend, shape, rounds, _SECONDS))
        ]
