"""Samplers by name: what proposes. One file each; a new one is a file plus a line here.

Each is a function ``make(seed, trials)`` that returns an Optuna sampler; ``WithinBudget`` keeps it inside the budgets.
"""

from collections.abc import Callable

from optuna.samplers import BaseSampler

from . import nsga2, random, tpe
from .within_budget import ExhaustedError, WithinBudget

SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {
    "tpe": tpe.make,
    "nsga2": nsga2.make,
    "random": random.make,
}

__all__ = ["SAMPLERS", "ExhaustedError", "WithinBudget"]
