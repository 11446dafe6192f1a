"""Accuracies that are known exactly, of every architecture of a real space: what ``search_quality.py`` searches.

Of two kinds. On the space ``small`` they are what a surrogate of a thousand real trainings says (``surrogate.py``). On
the full-sized spaces, with their real cost tables, they are made up: a slot's effect is its weight (a Dirichlet share
of 8 points) times what its operator keeps of vanilla, each option with a deviation of its own; and a quadratic form
over slots, so that the truth is not additive.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import surrogate
import table
from numpy.typing import NDArray

from nas.cost.table import CostTable, build_table
from nas.form import parse_form
from nas.model import Model
from nas.preparation import feasible_set
from nas.prior import Prior
from nas.question import asked
from nas.samplers.problem import Problem, problem
from nas.uniform import compared_with
from search_spaces import VANILLA, Choice, Space, load_space

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
POINTS = 8.0
OWN, PAIRS = 0.05, 0.15
LEVEL = 80.0
BUDGETS = {  # tight, middling, loose
    "small": table.BUDGETS,
    "spconv_layerwise": ("2.5GFLOPs", "2.68GFLOPs", "3.2GFLOPs"),
    "mixed_layerwise": ("0.8GFLOPs", "1.5GFLOPs", "3GFLOPs"),
}
KEEPS = {  # of an operator, what it keeps of vanilla's worth; made up
    "hetconv": 0.9,
    "ghost": 0.8,
    "octconv": 0.7,
    "grouped": 0.9,
    "grouped_shuffle": 0.9,
    "depthwise_separable": 0.8,
    "selective_kernel": 0.7,
    "pointwise": 0.2,
}
BINARY = 0.5


@dataclass(frozen=True)
class Truth:
    """``accuracy``: option indices ``(n, variables)`` → points ``(n,)``.

    ``best`` is that of the best additive architecture within the budget.

    Args:
        starts: uniform settings within the budget, as a run judges them first.
    """

    problem: Problem
    accuracy: "Callable[[Rows], Array]"
    best: float
    starts: tuple[tuple[int, ...], ...]
    budget: float

    @cached_property
    def _draws(self) -> NDArray[np.int64]:
        """Uniform draws within the budget."""
        rng = np.random.default_rng(7)
        feasible = self.problem.feasible
        return np.array([feasible.draw(feasible.uniform, rng) for _ in range(200)])

    @cached_property
    def random(self) -> float:
        """The mean over the architectures within the budget."""
        return float(self.accuracy(self._draws).mean())

    @cached_property
    def worst(self) -> float:
        return float(self.accuracy(self._draws).min())

    def share_of_way(self, accuracy: float) -> float:
        """0 for a random draw's mean, 1 for the best."""
        return (accuracy - self.random) / (self.best - self.random)

    def flops(self, rows: Rows) -> Array:
        return np.sum([c[rows[:, i]] for i, c in enumerate(self.problem.costs["flops"])], axis=0)

    def hypervolume(self, rows: Rows) -> float:
        """Of what keeps the budget, by true accuracy above the worst random draw's and FLOPs below the budget.

        As a share of the rectangle between those and the best accuracy and the least FLOPs.
        """
        rows = rows[self.problem.feasible.keeps(rows)]
        least = sum(float(c.min()) for c in self.problem.costs["flops"])
        spent = (self.flops(rows) - least) / (self.budget - least)
        gained = (self.accuracy(rows) - self.worst) / (self.best - self.worst)
        volume, highest = 0.0, 0.0
        for s, g in sorted(zip(spent.tolist(), gained.tolist(), strict=True)):
            if g > highest:
                volume, highest = volume + (1 - s) * (g - highest), g
        return volume


def of(space_name: str, budget: str, seed: int) -> Truth:
    """A truth of a space under a budget; another for each seed, but of the small space, where there is one."""
    return _trained(budget) if space_name == "small" else _made_up(space_name, budget, seed)


def _made_up(space_name: str, budget: str, seed: int) -> Truth:
    space = _space(space_name)[0]
    effects = _effects(space, seed)
    accuracy = _accuracy(space, effects, seed)
    return _truth(space_name, budget, accuracy, effects)


@cache
def _trained(budget: str) -> Truth:
    known = surrogate.Table.read()
    accuracy = surrogate.surrogate(known)
    effects = Model.fit(Prior.of(known.space, known.flops), known.rows, known.points).effects()
    found = _truth("small", budget, accuracy, effects)
    return replace(found, problem=replace(found.problem, sensitivity=lambda: known.sensitivity))


def _truth(space_name: str, budget: str, accuracy: Callable[[Rows], Array], effects: list[Array]) -> Truth:
    space, costs = _space(space_name)
    question = asked({"space": _path(space_name), "budget": budget})
    feasible = feasible_set(space, costs, question)
    best = feasible.best(effects)
    inside = (space.indices(a) for a in compared_with(space, costs, question.budget).values())
    return Truth(
        problem=problem(space, costs, feasible, 100),
        accuracy=accuracy,
        best=float(accuracy(np.array([best]))[0]),
        starts=tuple(r for r in inside if r is not None and feasible.keeps(np.array([r]))[0]),
        budget=question.budget[0].limit - costs.rest["flops"],
    )


def _path(space_name: str) -> str:
    return table.SPACE if space_name == "small" else space_name


@cache
def _space(name: str) -> tuple[Space, CostTable]:
    space = load_space(_path(name))
    return space, build_table(space, parse_form("cpu"), Path("results/.cache"))


def _effects(space: Space, seed: int) -> list[Array]:
    """Points of accuracy, of each variable's options."""
    rng = np.random.default_rng([seed, 0])
    weights = POINTS * rng.dirichlet(np.ones(len(space.variables)))
    return [
        weight * np.array([_kept(o.asked) + (0 if o.asked == VANILLA else rng.normal(0, OWN)) for o in v.options])
        for weight, v in zip(weights, space.variables, strict=True)
    ]


def _kept(choice: Choice) -> float:
    """Of vanilla's worth."""
    numbers = {k: float(v) for k, v in choice.params if not isinstance(v, (bool, str))}
    if choice.operator == "vanilla":
        kept = 1.0
    elif choice.operator == "spconv":
        kept = 0.75 * numbers["alpha"] ** 0.35 * numbers["groups"] ** -0.12
    elif choice.operator == "compconv":
        kept = 0.9 ** numbers.get("depth", 1)
    else:
        kept = (
            KEEPS[choice.operator] * max(numbers.get("groups", 1), numbers.get("p", 1), numbers.get("ratio", 1)) ** -0.1
        )
    return kept * (BINARY if dict(choice.to_dict()).get("binary") else 1)


def _accuracy(space: Space, effects: list[Array], seed: int) -> Callable[[Rows], Array]:
    """The sum of the effects and a quadratic form over the options' places in the order of their effects."""
    n = len(effects)
    pairs = np.random.default_rng([seed, 2]).normal(0, PAIRS * 4 / n**0.5, (n, n))
    places = [np.argsort(np.argsort(e)) / max(1, len(e) - 1) - 0.5 for e in effects]

    def accuracy(rows: Rows) -> Array:
        rows = np.asarray(rows)
        at = np.stack([p[rows[:, i]] for i, p in enumerate(places)], axis=1)
        own = np.sum([e[rows[:, i]] for i, e in enumerate(effects)], axis=0)
        return LEVEL + own + np.einsum("ni,ij,nj->n", at, pairs, at)

    return accuracy
