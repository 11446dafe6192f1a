"""Samplers by name: what proposes. One file each; a new one is a file plus a line here.

Each is a function ``make(problem)`` that returns a function of a seed, and that an Optuna sampler, which makes one
proposal; ``WithinBudget`` keeps it inside the budgets.
"""

from typing import TYPE_CHECKING

from search_spaces.late import Late

if TYPE_CHECKING:
    from collections.abc import Callable

    from .problem import Maker, Problem

SAMPLERS: "dict[str, Callable[[Problem], Maker]]" = {
    "additive": Late("nas.samplers.additive", "make"),
    "tpe": Late("nas.samplers.tpe", "make"),
    "nsga2": Late("nas.samplers.nsga2", "make"),
    "random": Late("nas.samplers.random", "make"),
}
LEARN_FROM_ALL = ("additive",)  # trials; the others from the front, the unfinished and the latest
