"""How a search went on: what it had after each trial."""

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .budget import Budget, broken
from .record import Record


@dataclass(frozen=True)
class Point:
    """After ``trials`` trials, at the Unix time ``at``.

    Args:
        best: the highest score so far within the budgets, in [0, 1]; ``None`` while nothing is within.
        hypervolume: over all smaller budgets, the mean of what the best network within each has above guessing, in
            [0, 1]: it grows with every network that is better than all that are as cheap.
    """

    trials: int
    at: float
    best: float | None
    hypervolume: float


@dataclass(frozen=True)
class Scale:
    """What hypervolumes are measured by: the cost ``metric`` from ``least`` to ``most``, and guessing's accuracy."""

    metric: str
    least: float
    most: float
    chance: float


def scale_of(budgets: Sequence[Budget], costs: Callable[[str], tuple[float, float]], classes: int) -> Scale:
    """By the first budget's metric and limit; without one by FLOPs, up to the dearest network.

    Args:
        costs: of a metric, what the cheapest and the dearest network have.
    """
    metric = budgets[0].metric if budgets else "flops"
    least, most = costs(metric)
    return Scale(metric, least, budgets[0].limit if budgets else most, 1 / classes)


def progress(records: Iterable[Record], budgets: Sequence[Budget], scale: Scale | None) -> list[Point]:
    """After each candidate that has ended, in the order in which they did."""
    points: list[Point] = []
    stairs: list[tuple[float, float]] = []  # cost → accuracy above guessing, both rising
    best: float | None = None
    volume = 0.0
    in_order = sorted((r for r in records if r.status.is_final), key=lambda r: r.ended or 0.0)
    for count, record in enumerate(in_order, 1):
        if scale is not None and record.finished and not broken(budgets, record.costs):
            score = record.accuracy or 0.0
            best = score if best is None else max(best, score)
            if _is_new(stairs, record.costs[scale.metric], score - scale.chance):
                volume = _volume(stairs, scale)
        points.append(Point(count, record.ended or 0.0, best, volume))
    return points


def _is_new(stairs: list[tuple[float, float]], cost: float, gain: float) -> bool:
    """Whether it is better than all that are as cheap; it is then a stair, and what it makes superfluous is none."""
    place = bisect_right(stairs, (cost, float("inf")))
    if gain <= max(0.0, stairs[place - 1][1] if place else 0.0):
        return False
    stairs[:] = [stair for stair in stairs if stair[0] < cost or stair[1] > gain]
    insort(stairs, (cost, gain))
    return True


def _volume(stairs: Sequence[tuple[float, float]], scale: Scale) -> float:
    """The area below the stairs, as a share of the costs' range."""
    width = scale.most - scale.least
    if width <= 0:  # one cost alone
        return max((gain for _, gain in stairs), default=0.0)
    area, before = 0.0, 0.0
    for cost, gain in stairs:
        area += (scale.most - cost) * (gain - before)
        before = gain
    return area / width
