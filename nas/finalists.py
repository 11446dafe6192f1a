"""The last few: what a search's scores promise most, taken together, and not a few times the same network."""

import numpy as np
from numpy.typing import NDArray

from .feasible import Feasible
from .knapsack import Indices
from .model import Model

LEAST_ROWS = 8  # with fewer the model's best guess at an architecture that was never judged is worth little
APART = 0.25  # of the variables in which finalists are to differ
DRAWS = 8  # of the posterior, each with an architecture that is the best by it


def diverse_best(model: Model, feasible: Feasible, count: int, generator: np.random.Generator) -> list[Indices]:
    """Up to ``count`` architectures within all budgets to be judged more precisely, distinct, the safest first.

    The first is the best by the posterior mean of those that were judged; the second the best within the budgets,
    judged or not; then the best of what was judged and of what draws of the posterior favour, as long as they differ
    in a quarter of the variables from each before; then whatever differs most. With little data: only what was judged.
    """
    judged = _judged(model, feasible)
    pool = list(judged)
    if len(pool) >= LEAST_ROWS:
        favoured = [model.effects(), *(model.sample(generator) for _ in range(DRAWS))]
        pool += [found for e in favoured if (found := feasible.best(e)) is not None]
    pool = _best_first(model, list(dict.fromkeys(pool)))
    first = [row for row in pool if row in judged][:1]
    chosen = list(dict.fromkeys([*first, *pool[:1]]))[:count]
    while len(chosen) < min(count, len(pool)):
        chosen.append(_next(pool, chosen))
    return chosen


def _judged(model: Model, feasible: Feasible) -> set[Indices]:
    """Those within all budgets: references may be above."""
    return {tuple(row) for row in model.rows[feasible.keeps(model.rows)].tolist()}


def _best_first(model: Model, pool: list[Indices]) -> list[Indices]:
    """By the posterior mean; the indices decide between equals."""
    rows = sorted(pool)
    means = model.predict(np.array(rows, dtype=np.int64))[0]
    return [rows[i] for i in np.argsort(-means, kind="stable")]


def _next(pool: list[Indices], chosen: list[Indices]) -> Indices:
    """The best of ``pool`` that is far enough from all ``chosen``; if none is, the farthest."""
    distances = _distances(np.array(pool), np.array(chosen))
    enough = min(float(distances.max()), APART * len(chosen[0]))
    return pool[int(np.argmax(distances >= enough))]


def _distances(rows: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """In how many variables each row of ``(n, variables)`` differs from the nearest other: ``(n,)``."""
    return (rows[:, None] != others[None]).sum(axis=-1).min(axis=1)
