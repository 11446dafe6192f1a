"""An Optuna sampler around another: what the inner one proposes is moved into the budget, as little as it takes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.knapsack import Indices
from search_spaces import Architecture

from . import encoding
from .problem import Maker, Problem


class WithinBudget(BaseSampler):
    """Every parameter set it returns is an architecture within all budgets that was not proposed before.

    A proposal of ``inner`` that is within them is taken as it is. Another one is replaced by a draw, within them, from
    a distribution that is concentrated around it. Without a proposal (a sampler's start-up) the draw is uniform.

    What a proposal draws depends on the seed, on how many were made before and on the study alone: a search that is
    resumed goes on as if it had not been interrupted.

    Args:
        make: the inner sampler, made anew for every proposal.
    """

    def __init__(self, make: Callable[[Problem], Maker], problem: Problem, seed: int) -> None:
        self.make, self.space, self.feasible, self.seed = make(problem), problem.space, problem.feasible, seed
        self.asked = 0
        self._renew()
        self.distributions = encoding.distributions(self.space)
        self.taken: set[Indices] = set()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Raises ExhaustedError where nothing is left."""
        proposal = self.inner.sample_relative(study, trial, search_space)
        chosen = self.propose(proposal)
        return encoding.params(self.space, chosen, proposal)

    def propose(self, proposal: Mapping[str, object]) -> Indices:
        """The proposal itself, or the draw that replaces it; it counts as taken from now on."""
        chosen = encoding.indices(self.space, proposal)
        complete = len(proposal) == len(self.distributions)
        if not complete or chosen in self.taken or not self.feasible.keeps(np.array([chosen]))[0]:
            chosen = self.feasible.draw(encoding.weights(self.space, proposal), self.rng, self.taken)
        self.taken.add(chosen)
        return chosen

    def admissible(self, architecture: Architecture) -> Indices | None:
        """The option indices of an architecture that is in the space and within all budgets; else ``None``."""
        indices = self.space.indices(architecture)
        return indices if indices is not None and self.feasible.keeps(np.array([indices]))[0] else None

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise KeyError(f"{param_name!r} is no parameter of the space {self.space.name}")

    def _renew(self) -> None:
        """Randomness for the next proposal."""
        seeds = np.random.SeedSequence([self.seed, self.asked]).generate_state(2)
        self.inner, self.rng = self.make(int(seeds[0])), np.random.default_rng(int(seeds[1]))

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._renew()
        self.asked += 1
        self.inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Nothing: every proposal has a seed of its own."""
