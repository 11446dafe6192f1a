"""Samplers by name: what proposes. One file each; a new one is a file plus a line here.

Each is a function ``make(seed, trials)`` that returns an Optuna sampler; ``WithinBudget`` keeps it inside the budgets.
"""

from typing import TYPE_CHECKING

from search_spaces.late import Late

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.samplers import BaseSampler

SAMPLERS: "dict[str, Callable[[int, int], BaseSampler]]" = {
    "tpe": Late("nas.samplers.tpe", "make"),
    "nsga2": Late("nas.samplers.nsga2", "make"),
    "random": Late("nas.samplers.random", "make"),
}
