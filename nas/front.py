"""The Pareto front: the trials that no other trial makes superfluous, by differences that are more than noise."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from .metrics import METRICS, OBJECTIVES
from .record import Record

Array = NDArray[np.float64]


def pareto_front(
    records: Iterable[Record], noise: float = 0.0, resolutions: Mapping[str, float] | None = None
) -> list[Record]:
    """The finished trials that are worth a choice, the most accurate first.

    A trial stands on the front if, against each that stands there already, it is better in some objective by more than
    nothing: in accuracy by more than √2 · ``noise``, in a cost by more than its
    resolution. The most
    accurate is asked first, then always the cheapest of those whose accuracy can't be told from the best that is left.
    So whatever is off the front has one on it that is as good; without noise and resolutions it is the Pareto front.
    Exact twins stand side by side.

    Args:
        noise: the standard deviation of one accuracy score; 0 where it is not known.
        resolutions: cost → the relative difference that is none, as a table of costs knows it (``CostTable``); by
            default the metric's own.
    """
    finished = sorted((r for r in records if r.finished), key=_losses)
    if not finished:
        return []
    known = resolutions or {}
    losses, names = np.array([_losses(r) for r in finished]), list(finished[0].objectives)
    accuracy, unclear = losses[:, names.index("accuracy")], 2**0.5 * noise
    costs = _log_costs(losses, names)
    shares = {n: 0.0 if n == "accuracy" else known.get(n, METRICS[n].resolution) for n in names}
    left, front, member = np.arange(len(finished)), list[int](), 0
    while True:
        twins = (losses[left] == losses[member]).all(axis=1)
        front += left[twins].tolist()
        left = left[_better(losses[left], losses[member], _least(losses[member], shares, unclear)) & ~twins]
        if not len(left):
            return [finished[i] for i in sorted(front)]
        best = left[accuracy[left] <= accuracy[left].min() + unclear]
        member = int(best[costs[best].argmin()])


def _better(losses: Array, member: Array, least: Array) -> NDArray[np.bool_]:
    """Which rows of ``(n, objectives)`` are better than ``member`` in one objective by more than the ``least``."""
    return np.any(losses < member - least, axis=1)


def _least(member: Array, shares: Mapping[str, float], unclear: float) -> Array:
    """By how much another has to be better than ``member``, by objective."""
    return np.array(
        [unclear if n == "accuracy" else s * abs(m) for (n, s), m in zip(shares.items(), member, strict=True)]
    )


def _log_costs(losses: Array, names: list[str]) -> Array:
    """The log of the product of a trial's costs ``(n,)``: less is cheaper, whatever their units."""
    costs = losses[:, [name != "accuracy" for name in names]]
    return np.log(np.maximum(np.abs(costs), 1e-300)).sum(axis=1)


def _losses(record: Record) -> list[float]:
    """The objectives, turned so that less is better."""
    return [value if OBJECTIVES[name] == "minimize" else -value for name, value in record.objectives.items()]
