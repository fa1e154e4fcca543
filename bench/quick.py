"""The quick run: a floor that is missed is measured once again before it counts, as it may be noise."""

from collections.abc import Awaitable, Callable, Collection, Sequence

from bench.floors import Requirement, Verdict, judge
from bench.results import Row

__all__ = ["hold"]


async def hold(
    requirements: Sequence[Requirement],
    measure: Callable[[Collection[str]], Awaitable[list[Row]]],
    missed: Callable[[Sequence[Verdict]], None],
) -> list[Verdict]:
    """Measure the scenarios of quick requirements and hold them to those, twice at most.

    Args:
        requirements: What is required; of the others nothing is measured.
        measure: Measures scenarios, by name.
        missed: Is told what was missed before that is measured again.
    """
    first = await _judge([each for each in requirements if each.is_quick], measure)
    failed = {verdict.name: verdict for verdict in first if not verdict.is_met}
    if not failed:
        return first
    missed(list(failed.values()))
    second = await _judge([each for each in requirements if each.name in failed], measure)
    return [verdict for verdict in first if verdict.is_met] + second


async def _judge(
    requirements: Sequence[Requirement], measure: Callable[[Collection[str]], Awaitable[list[Row]]]
) -> list[Verdict]:
    return judge(requirements, await measure({each.scenario for each in requirements}), quick=True)
