"""Who plays in ``search_quality.py``: our samplers as a run has them, and what else one would reach for."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState, create_trial
from truths import Array, Truth

from nas.metrics import directions
from nas.model import Model
from nas.prior import Prior
from nas.samplers import SAMPLERS, encoding
from nas.samplers.within_budget import WithinBudget

Row = tuple[int, ...]
POPULATION, TOURNAMENT = 50, 10  # of regularised evolution (Real et al., 2019, scaled to hundreds of trials)
MOST = {"optuna_gp": 50}  # trials: a proposal takes seconds
OPTUNA_LEVEL = optuna.logging.WARNING


class Player(Protocol):
    """Asks for rows of option indices, is told their scores in the order asked, and names the best by its index."""

    def ask(self) -> Row: ...
    def tell(self, row: Row, score: float) -> None: ...
    def named(self, rows: NDArray[np.int64], scores: Array) -> int | None: ...


class Ours:
    """One of ``nas.samplers``, behind the uniform settings with which a run starts.

    What is named is the best by the model of everything that was tried; ``luckiest`` names the best score;
    ``sensitive`` has the sensitivities in the model, where they were measured.
    """

    def __init__(
        self,
        truth: Truth,
        sampler: str,
        seed: int,
        trials: int,
        starts: bool = True,
        luckiest: bool = False,
        sensitive: bool = False,
    ) -> None:
        optuna.logging.set_verbosity(OPTUNA_LEVEL)
        self.truth, self.luckiest = truth, luckiest
        problem = truth.problem if sensitive else replace(truth.problem, sensitivity=lambda: None)
        self.prior = Prior.of(problem.space, problem.costs["flops"], problem.sensitivity())
        self.sampler = WithinBudget(SAMPLERS[sampler], problem, seed)
        self.study = optuna.create_study(directions=directions(), sampler=self.sampler)
        self.starts: deque[Row] = deque(truth.starts if starts else ())
        self.sampler.taken.update(self.starts)
        self.open: deque[optuna.trial.Trial | None] = deque()  # ``None``: one that a run starts with

    def ask(self) -> Row:
        if self.starts:
            self.open.append(None)
            return self.starts.popleft()
        trial = self.study.ask(self.sampler.distributions)
        self.open.append(trial)
        return encoding.indices(self.truth.problem.space, trial.params)

    def tell(self, row: Row, score: float) -> None:
        costs = [sum(float(c[i]) for c, i in zip(self.truth.problem.costs[m], row, strict=True)) for m in MINIMISED]
        trial = self.open.popleft()
        if trial is not None:
            self.study.tell(trial, [score, *costs])
            return
        known = self.sampler.distributions
        params = encoding.params(self.truth.problem.space, row, {})
        self.study.add_trial(
            create_trial(state=TrialState.COMPLETE, values=[score, *costs], params=params, distributions=known)
        )

    def named(self, rows: NDArray[np.int64], scores: Array) -> int:
        if self.luckiest:
            return int(np.argmax(scores))
        model = Model.fit(self.prior, rows, scores)
        return int(np.argmax(model.predict(rows)[0]))


MINIMISED = ("flops", "latency_ms")


class Penalised:
    """A sampler of Optuna's as it is, over all parameters; what is above the budget is trained and scored as bad."""

    def __init__(self, truth: Truth, sampler: BaseSampler) -> None:
        optuna.logging.set_verbosity(OPTUNA_LEVEL)
        self.truth = truth
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.known = encoding.distributions(truth.problem.space)
        self.open: deque[optuna.trial.Trial] = deque()

    def ask(self) -> Row:
        self.open.append(self.study.ask(self.known))
        return encoding.indices(self.truth.problem.space, self.open[-1].params)

    def tell(self, row: Row, score: float) -> None:
        over = float(self.truth.flops(np.array([row]))[0]) / self.truth.budget - 1
        self.study.tell(self.open.popleft(), score if over <= 0 else -100 * over)

    def named(self, rows: NDArray[np.int64], scores: Array) -> int | None:
        kept = self.truth.problem.feasible.keeps(rows)
        return int(np.argmax(np.where(kept, scores, -np.inf))) if kept.any() else None


class Evolution:
    """Regularised evolution: of a few at random the best has a child, changed in one slot; the oldest dies.

    Children above the budget are thrown away unjudged; the first ones are drawn within the budget.
    """

    def __init__(self, truth: Truth, seed: int, trials: int) -> None:
        self.truth, self.rng = truth, np.random.default_rng([seed, 3])
        self.alive: deque[tuple[Row, float]] = deque()
        self.size = min(POPULATION, max(4, trials // 4))
        self.asked: set[Row] = set()

    def ask(self) -> Row:
        feasible = self.truth.problem.feasible
        first = len(self.asked) < self.size or not self.alive
        row = feasible.draw(feasible.uniform, self.rng, self.asked) if first else self._child()
        self.asked.add(row)
        return row

    def _child(self) -> Row:
        feasible = self.truth.problem.feasible
        while True:
            few = self.rng.choice(len(self.alive), min(TOURNAMENT, len(self.alive)), replace=False)
            child = list(max((self.alive[i] for i in few), key=lambda a: a[1])[0])
            slot = int(self.rng.integers(len(child)))
            child[slot] = int(self.rng.integers(feasible.sizes[slot]))
            if tuple(child) not in self.asked and feasible.keeps(np.array([child]))[0]:
                return tuple(child)

    def tell(self, row: Row, score: float) -> None:
        self.alive.append((row, score))
        if len(self.alive) > self.size:
            self.alive.popleft()

    def named(self, rows: NDArray[np.int64], scores: Array) -> int:
        return int(np.argmax(scores))


class Uniform:
    """The papers' way: uniform settings within the budget, one after the other, and again."""

    def __init__(self, truth: Truth) -> None:
        self.truth, self.asked = truth, 0

    def ask(self) -> Row:
        self.asked += 1
        return self.truth.starts[(self.asked - 1) % len(self.truth.starts)]

    def tell(self, row: Row, score: float) -> None:
        """Nothing is learned."""

    def named(self, rows: NDArray[np.int64], scores: Array) -> int:
        means = [scores[(rows == row).all(axis=1)].mean() for row in rows]
        return int(np.argmax(means))


def _ours(name: str, **how: bool) -> Callable[[Truth, int, int], Player]:
    return lambda truth, seed, trials: Ours(truth, name, seed, trials, **how)


PLAYERS: dict[str, Callable[[Truth, int, int], Player]] = {
    "uniform": lambda truth, seed, trials: Uniform(truth),
    "random": _ours("random", starts=False, luckiest=True),
    "random_model": _ours("random"),  # what pooling alone gives
    "additive": _ours("additive"),
    "additive_sensitive": _ours("additive", sensitive=True),  # where a trained network to inherit from is there
    "tpe": _ours("tpe", luckiest=True),
    "nsga2": _ours("nsga2", luckiest=True),
    "evolution": lambda truth, seed, trials: Evolution(truth, seed, trials),
    "optuna_tpe": lambda truth, seed, trials: Penalised(truth, TPESampler(seed=seed)),
    "optuna_nsga2": lambda truth, seed, trials: Penalised(truth, NSGAIISampler(population_size=20, seed=seed)),
    "optuna_gp": lambda truth, seed, trials: Penalised(truth, GPSampler(seed=seed)),
}
