"""Uniform draws from the architectures within the budget: the baseline that every sampler must beat."""

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from .problem import Maker, Problem


class _NoProposal(RandomSampler):
    """Leaves every parameter open."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}


def make(problem: Problem) -> Maker:
    return lambda seed: _NoProposal(seed=seed)
