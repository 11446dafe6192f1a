"""The best under one limit on cost: a multiple-choice knapsack, solved by dynamic programming over rounded costs.

Each variable has one option chosen; the sum of their worth is to be largest, and that of their costs within the limit
(Kellerer, Pferschy and Pisinger, *Knapsack Problems*, 2004, ch. 11).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FINE = 8192  # steps of cost in which the best is looked for
FAR = 1e6  # an excess that no budget allows, however small its share of a combination of several

Indices = tuple[int, ...]


@dataclass(frozen=True)
class Limit:
    """One budget: ``costs`` of each variable's options, and the ``limit`` on the sum over the variables."""

    costs: Sequence[NDArray[np.float64]]
    limit: float

    @property
    def least(self) -> float:
        return sum(float(c.min()) for c in self.costs)

    @property
    def most(self) -> float:
        return sum(float(c.max()) for c in self.costs)

    def excess(self) -> list[NDArray[np.float64]]:
        """What each option costs above the cheapest of its variable, as a share of the slack."""
        slack = max(self.limit - self.least, np.finfo(np.float64).tiny)
        with np.errstate(over="ignore"):
            return [np.minimum((c - c.min()) / slack, FAR) for c in self.costs]

    def sums(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """``(n, variables)`` → ``(n,)``; exact for integer costs."""
        return np.sum([c[indices[:, i]] for i, c in enumerate(self.costs)], axis=0)


def best_within(limit: Limit, worth: Sequence[NDArray[np.float64]]) -> Indices | None:
    """The option of each variable whose sum of ``worth`` is largest within ``limit``; ``None`` if there is none."""
    ladder = _Ladder.of(limit, worth)
    for steps in range(len(ladder.values) - 1, -1, -1):  # few: rounding is up as often as down
        found = ladder.best(steps)
        if limit.sums(np.array([found]))[0] <= limit.limit:
            return found
        if steps < FINE - len(worth):  # nothing that costs so little can be above the limit
            break
    return None


@dataclass(frozen=True)
class _Ladder:
    """The largest sum of worth for every rounded cost, and how it is reached: a max-plus convolution over variables.

    Args:
        kept: of each variable the options that no cheaper one is worth as much as, the cheapest first.
        steps: their costs above the cheapest, rounded; ``FINE`` is the slack of the limit.
        values: from 0 to as much as rounding may make of the slack; ``chosen``: by variable and cost, an index into
            ``kept``.
    """

    kept: list[NDArray[np.int64]]
    steps: list[NDArray[np.int64]]
    values: NDArray[np.float64]
    chosen: list[NDArray[np.int16]]

    @classmethod
    def of(cls, limit: Limit, worth: Sequence[NDArray[np.float64]]) -> "_Ladder":
        most = FINE + len(worth) // 2 + 1
        kept = [_undominated(c, w) for c, w in zip(limit.costs, worth, strict=True)]
        steps = [
            np.minimum(np.round(e[k] * FINE), most + 1).astype(np.int64)
            for e, k in zip(limit.excess(), kept, strict=True)
        ]
        values, chosen = np.zeros(most + 1), []
        for w, k, s in zip(worth, kept, steps, strict=True):
            values, which = _better(values, w[k], s)
            chosen.append(which)
        return cls(kept, steps, values, chosen)

    def best(self, cost: int) -> Indices:
        """The best at a rounded cost of at most ``cost``."""
        left, found = cost, []
        for kept, steps, chosen in zip(reversed(self.kept), reversed(self.steps), reversed(self.chosen), strict=True):
            which = int(chosen[left])
            found.append(int(kept[which]))
            left -= int(steps[which])
        return tuple(reversed(found))


def _undominated(costs: NDArray[np.float64], worth: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the options that are worth more than every option that costs as much or less, the cheapest first."""
    order = np.lexsort((-worth, costs))
    highest = np.maximum.accumulate(worth[order])
    return order[np.append(True, highest[1:] > highest[:-1])]


def _better(
    values: NDArray[np.float64], worth: NDArray[np.float64], steps: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """``values'[r] = max over options of values[r − step] + worth``, and the option; the first one's step is 0."""
    best, which = values + worth[0], np.zeros(len(values), dtype=np.int16)
    for i, (w, step) in enumerate(zip(worth.tolist(), steps.tolist(), strict=True)):
        if step >= len(values):
            break
        reached = values[: len(values) - step] + w
        better = reached > best[step:]
        best[step:] = np.where(better, reached, best[step:])
        which[step:][better] = i
    return best, which
