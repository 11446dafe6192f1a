"""An additive Gaussian model of accuracy, drawn from and maximised under the budgets: costs are known, not modelled.

Each proposal is the best architecture within the budgets, and within a limit of its own on one of the costs, by a draw
from the model's posterior (Thompson sampling). Its limits range over the whole front, a quarter of them at its far end.
"""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ..knapsack import Indices, Limit
from ..metrics import OBJECTIVES
from ..model import Model, gram_of, one_hot, thinned
from ..prior import Prior
from . import encoding
from .problem import Maker, Problem

BOLDNESS = 0.2  # of a draw, as a share of the posterior's deviation: whole draws of 16 slots and more find little
AT_THE_LIMIT = 0.25  # the share of proposals that may use all of the budgets
TRIES = 4  # draws, each bolder than the one before, for a proposal that was not made before


def make(problem: Problem) -> Maker:
    learned = _Learned(problem)
    return lambda seed: Additive(learned, seed)


class Additive(BaseSampler):
    """One proposal; what its likes have learned of the study is shared."""

    def __init__(self, learned: "_Learned", seed: int) -> None:
        self.learned, self.rng = learned, np.random.default_rng(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return encoding.distributions(self.learned.problem.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return encoding.params(self.learned.problem.space, self._row(study), {})

    def _row(self, study: Study) -> Indices:
        """The best by a draw; if that was proposed before, by a bolder one."""
        model, beside, feasible = self.learned.model(study), self._limit(), self.learned.problem.feasible
        found: Indices | None = None
        for boldness in BOLDNESS * np.arange(1, 1 + TRIES):
            effects = model.sample(self.rng, float(boldness))
            best = feasible.best(effects, beside) or feasible.best(effects)
            found = best or found
            if best is not None and best not in self.learned.rows:
                return best
        return found or feasible.draw(feasible.uniform, self.rng)

    def _limit(self) -> Limit | None:
        """On one of the costs that the search minimises, between the least and the most of what budgets allow."""
        costs = [metric for metric in OBJECTIVES if metric in self.learned.problem.costs]
        if not costs or self.rng.random() < AT_THE_LIMIT:
            return None
        metric = costs[int(self.rng.integers(len(costs)))]
        least, most = self.learned.ranges[metric]
        return Limit(self.learned.problem.costs[metric], least + self.rng.random() * (most - least))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise KeyError(f"{param_name!r} is no parameter of the space {self.learned.problem.space.name}")


class _Learned:
    """The trials of a study as option indices and scores, and the latest model of them.

    Everything here follows from the study alone: it is only not computed twice.

    Attributes:
        ranges: metric → the least and the most that an architecture within the budgets costs.
        rows: of all trials, whatever became of them.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.ranges = {metric: self._range(metric) for metric in problem.costs}
        self._study = ""
        self._forget()

    @cached_property
    def prior(self) -> Prior:
        problem = self.problem
        return Prior.of(problem.space, problem.costs["flops"], problem.sensitivity())

    def _forget(self) -> None:
        self.rows: set[Indices] = set()
        self._row_of: dict[int, Indices] = {}
        self._pending: set[int] = set()
        self._finished: dict[int, tuple[Indices, float]] = {}
        self._fitted: tuple[bytes, Model] | None = None
        self._gram: NDArray[np.float64] | None = None  # of the finished rows: counted on, since counting takes long

    def _range(self, metric: str) -> tuple[float, float]:
        costs = self.problem.costs[metric]
        ends = [self.problem.feasible.best([sign * c for c in costs]) for sign in (-1, 1)]
        totals = [sum(float(c[i]) for c, i in zip(costs, end, strict=True)) for end in ends if end is not None]
        return (totals[0], totals[-1]) if totals else (0.0, 0.0)

    def model(self, study: Study) -> Model:
        """Of all finished trials; pending ones are taken to score what is expected of them ("kriging believer").

        Ginsbourger et al., 2010: the expectation stays, and there is less to be learned where a trial is pending.
        """
        self._read(study)
        finished = sorted(self._finished.values())  # in whatever order they ended
        rows = np.array([row for row, _ in finished], dtype=np.int64).reshape(-1, len(self.prior.sizes))
        scores = np.array([score for _, score in finished])
        model = Model.fit(self.prior, rows, scores, like=self._like(rows, scores), gram=self._gram)
        if not self._pending or not finished:
            return model
        pending = np.array(sorted(self._row_of[number] for number in self._pending))
        expected = np.append(scores, model.expected(pending))
        gram = None if self._gram is None else self._gram + gram_of(self.prior.sizes, pending)
        return Model.fit(self.prior, np.concatenate([rows, pending]), expected, like=model, gram=gram)

    def _like(self, rows: NDArray[np.int64], scores: NDArray[np.float64]) -> Model:
        """A model of the same spread, fitted again where one of the scores that decide it is new."""
        few = thinned(rows)
        key = rows[few].tobytes() + scores[few].tobytes()
        if self._fitted is None or self._fitted[0] != key:
            self._fitted = key, Model.fit(self.prior, rows[few], scores[few])
        return self._fitted[1]

    def _read(self, study: Study) -> None:
        if study.study_name != self._study:
            self._study = study.study_name
            self._forget()
        new: list[Indices] = []
        for trial in study.get_trials(deepcopy=False):
            if trial.number in self._finished or not trial.params:
                continue
            row = self._row_of.get(trial.number) or encoding.indices(self.problem.space, trial.params)
            self._row_of[trial.number] = row
            self.rows.add(row)
            (self._pending.discard if trial.state.is_finished() else self._pending.add)(trial.number)
            if trial.state is TrialState.COMPLETE:
                self._finished[trial.number] = row, trial.values[0]
                new.append(row)
        if new and self._gram is None:
            self._gram = gram_of(self.prior.sizes, np.array(new))
        elif self._gram is not None:
            for row in new:
                chosen = one_hot(self.prior.sizes, np.array([row])).indices
                self._gram[np.ix_(chosen, chosen)] += 1
