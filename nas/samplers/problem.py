"""What a sampler may know before the first trial."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import BaseSampler

from search_spaces import Space

from ..cost.table import CostTable
from ..feasible import Feasible
from ..metrics import METRICS

Maker = Callable[[int], BaseSampler]
"""Seed → the sampler of one proposal."""


@dataclass(frozen=True)
class Problem:
    """A space and its budgets.

    Args:
        costs: metric → of each variable's options, ``(options,)`` each.
        trials: how many were planned first.
        sensitivity: asked when the first proposal is made, for what ``search_spaces.sensitivity`` has measured.
    """

    space: Space
    feasible: Feasible
    costs: Mapping[str, Sequence[NDArray[np.float64]]]
    trials: int
    sensitivity: Callable[[], Sequence[Sequence[float]] | None] = lambda: None


def problem(space: Space, table: CostTable, feasible: Feasible, trials: int) -> Problem:
    """With all the costs that a table has."""
    return Problem(space, feasible, {metric: table.options(space, metric) for metric in METRICS}, trials)
