"""The loads of unary calls.

The load repeats one message, so card changes have no ``request_id``: with one, they would be made once. The cost of an
idempotency record is not in these figures.
"""

from pathlib import Path
from typing import Final

from bench.common.results import Row
from bench.unary.calls import AUTHENTICATE, CALLS
from bench.unary.h2load import H2Load, Shape
from bench.unary.rounds import Case, Turns
from bench.unary.servers import AUDITING, NAMES, staged
from bench.unary.steady import Steady, measure_steady

__all__ = ["measure_audit", "measure_authenticate", "measure_unary"]

_SHAPES: Final = (Shape(1, 1), Shape(4, 2), Shape(8, 4), Shape(16, 8))
_USUAL: Final = _SHAPES[2]
_ROUNDS: Final = 5
_SECONDS: Final = 0.4
_WARM_UP_SECONDS: Final = 1.0
_STEADY: Final = Steady(CALLS[1], rate=200, rounds=5, seconds=3.0)
_STEADY_SERVERS: Final = ("gateway", "pass-through")
_QUICK_ROUNDS: Final = 3
_QUICK_SECONDS: Final = 0.15


async def measure_unary(folder: Path, *, quick: bool) -> list[Row]:
    """Measure card changes: one with card data to encrypt, one without.

    Args:
        folder: The folder for files; its disk does not affect the results.
        quick: Measure only TLS with 32 in flight against the grpc.aio baselines, in fewer and shorter rounds.

    Raises:
        MissingToolError: A program is not installed.
        RuntimeError: A server did not start, a request failed, or the upstream was the bottleneck.
    """
    load = H2Load(folder)
    if quick:
        async with staged(folder / "tls", NAMES[:4], has_tls=True) as stage:
            turns = Turns(stage, load)
            cases = [Case(call, _USUAL, _QUICK_ROUNDS, _QUICK_SECONDS) for call in CALLS]
            return [row for case in cases for row in await turns.measure("unary", case)]
    rows: list[Row] = []
    for has_tls, shapes in ((True, _SHAPES), (False, (_USUAL,))):
        async with staged(folder / ("tls" if has_tls else "plaintext"), NAMES, has_tls=has_tls) as stage:
            turns = Turns(stage, load)
            for call in CALLS:
                # With the final number in flight only: idle connections cost httpx time on each request.
                await turns.warm_up(Case(call, shapes[0], 1, _WARM_UP_SECONDS / len(CALLS)))
            for case in (Case(call, shape, _ROUNDS, _SECONDS) for shape in shapes for call in CALLS):
                rows += await turns.measure("unary", case)
            if has_tls:
                rows += await measure_steady("unary", stage, _STEADY, _STEADY_SERVERS)
    return rows


async def measure_authenticate(folder: Path, *, quick: bool) -> list[Row]:
    """Measure authentications: a full AReq in the browser channel, with a challenge in response.

    Args:
        folder: The folder for files.
        quick: Measure only 32 in flight, in fewer and shorter rounds.

    Raises:
        MissingToolError: A program is not installed.
        RuntimeError: A server did not start, a request failed, or the upstream was the bottleneck.
    """
    load = H2Load(folder)
    rounds, seconds, shapes = (
        (_QUICK_ROUNDS, _QUICK_SECONDS, (_USUAL,)) if quick else (_ROUNDS, _SECONDS, (_SHAPES[0], _USUAL))
    )
    async with staged(folder / "authenticate", NAMES[:3], has_tls=True) as stage:
        turns = Turns(stage, load)
        cases = [Case(AUTHENTICATE, shape, rounds, seconds) for shape in shapes]
        return [row for case in cases for row in await turns.measure("authenticate", case)]


async def measure_audit(folder: Path, *, quick: bool) -> list[Row]:
    """Measure a card change with and without an audit trail.

    Args:
        folder: The folder for files; each change waits for its disk twice.
        quick: Measure only 32 in flight, in fewer and shorter rounds.

    Raises:
        MissingToolError: A program is not installed.
        RuntimeError: A server did not start, a request failed, or the upstream was the bottleneck.
    """
    load = H2Load(folder)
    rounds, seconds, shapes = (
        (_QUICK_ROUNDS, _QUICK_SECONDS, (_USUAL,)) if quick else (_ROUNDS, _SECONDS, (_SHAPES[0], _USUAL))
    )
    async with staged(folder / "audit", ("gateway", AUDITING), has_tls=True) as stage:
        turns = Turns(stage, load)
        cases = [Case(CALLS[1], shape, rounds, seconds) for shape in shapes]
        return [row for case in cases for row in await turns.measure("audit", case)]
