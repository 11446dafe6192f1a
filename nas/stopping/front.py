"""Stops a trial that can't reach the front at its cost any more.

What it would come to is predicted from its learning curve and from what the additive model expects of its architecture,
by the trials before it: together they err by less than either.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..curves import LATEST, expected
from ..metrics import OBJECTIVES
from ..pooled import Pooled, pooled, row_of
from ..record import Record
from ..samplers.problem import Problem
from . import Rule

ERRORS = 1.0  # of the prediction, by which it must fall short (benchmarks/README.md)


def make(problem: Problem) -> Rule:
    return Front(problem)


class Front:
    """The model is fitted again when a further trial has finished."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._fitted: tuple[int, Pooled | None] = (0, None)  # to how many

    def __call__(self, running: Record, ended: Sequence[Record]) -> str | None:
        """Against the best that costs no more in any objective: a small network is not stopped for being small."""
        costs = running.costs
        rivals = [r for r in ended if r.finished and all(r.costs[m] <= costs[m] for m in OBJECTIVES if m in costs)]
        if not rivals:
            return None
        prediction = expected(running, ended, self._expectations(running, ended))
        best = max(rivals, key=lambda r: r.accuracy or 0.0)
        if prediction is None or prediction[0] + ERRORS * prediction[1] >= (best.accuracy or 0.0):
            return None
        mean, error = prediction
        return (
            f"by epoch {running.epoch} it would come to {mean:.1%} ± {error:.1%}; "
            f"{best.name}, which costs no more, has {best.accuracy:.1%}"
        )

    def _expectations(self, running: Record, ended: Sequence[Record]) -> Mapping[str, float] | None:
        """Architecture key → what the model expects of it without its own score; ``None`` outside the space."""
        row, pool = row_of(self.problem.space, running), self._pool(ended)
        if row is None or pool is None:
            return None
        return {**pool.without_own, running.key: float(pool.model.expected(np.array([row]))[0])}

    def _pool(self, ended: Sequence[Record]) -> Pooled | None:
        if self._fitted[0] != len(ended):
            finished, costs = [r for r in ended[-LATEST:] if r.finished], self.problem.costs["flops"]
            self._fitted = len(ended), pooled(self.problem.space, finished, costs, self.problem.sensitivity())
        return self._fitted[1]
