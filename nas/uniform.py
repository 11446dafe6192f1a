"""Uniform settings, one choice in all slots: what a search has to beat, the papers' and the space's own."""

import math
from collections.abc import Callable, Mapping, Sequence

from search_spaces import VANILLA, Architecture, Choice, Space

from .budget import Budget, broken
from .cost.table import CostTable
from .papers.references import references

MOST = 4
VANILLA_NAME, OWN = "vanilla", "uniform "
CERTAIN = 3.0
ALIKE = 0.97  # of the most FLOPs that a uniform setting has within the budgets: as good a use of them


def compared_with(space: Space, table: CostTable, budgets: Sequence[Budget]) -> dict[str, Architecture]:
    """Name → architecture: vanilla, the papers' settings, and the space's own that use most of the budgets."""
    return {**references(space), **uniform_settings(space, table, budgets)}


def uniform_settings(space: Space, table: CostTable, budgets: Sequence[Budget]) -> dict[str, Architecture]:
    """The ``MOST`` uniform settings of the space within the budgets that have the most FLOPs, papers' left out."""
    known = {a.key for a in references(space).values()}
    found: dict[str, tuple[float, str, Architecture]] = {}
    for choice in choices(space):
        architecture = space.uniform(choice)
        costs = table.total(architecture)
        if architecture.key not in known and not broken(budgets, costs):
            found.setdefault(architecture.key, (-costs["flops"], f"{OWN}{choice}", architecture))
    return {name: architecture for _, name, architecture in sorted(found.values(), key=lambda f: f[:2])[:MOST]}


def to_beat(
    costs: Mapping[str, Mapping[str, float]],
    budgets: Sequence[Budget],
    worth: Callable[[str], tuple[float, float]] = lambda name: (0.0, math.inf),
) -> dict[str, str]:
    """Of ``compared_with``, by name, what the finalists stand beside: the same names → how they are called there.

    Vanilla, the papers' setting nearest to the budget in FLOPs, the uniform setting within the budgets that is worth
    most, and *all* that use the budgets as well as any and may still be better than that one: which of those is the
    best is not left to single scores.

    Args:
        worth: mean and standard deviation of a setting's accuracy, as the final stage will judge it; by default nothing
            is known of it.
    """
    flops = {name: each["flops"] for name, each in costs.items()}
    uniform = [name for name in costs if name != VANILLA_NAME and not broken(budgets, costs[name])]
    most = max((flops[name] for name in uniform), default=0.0)
    papers = [name for name in costs if name != VANILLA_NAME and not name.startswith(OWN)]
    limits = [b.limit for b in budgets if b.metric == "flops"]
    aim = min(limits, default=min(flops.values(), default=0.0))
    best = sorted(uniform, key=lambda name: -worth(name)[0])[:1]
    chosen = [name for name in costs if name == VANILLA_NAME]
    chosen += sorted(papers, key=lambda name: abs(flops[name] - aim))[:1]
    chosen += best
    chosen += [n for n in uniform if flops[n] >= ALIKE * most and not _is_worse(worth(n), worth(best[0]))]
    return {name: f"papers' {name}" if name in papers else name for name in chosen}


def _is_worse(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """For certain: by more than ``CERTAIN`` standard errors of the difference."""
    return other[0] - one[0] > CERTAIN * math.hypot(one[1], other[1])


def choices(space: Space) -> list[Choice]:
    """All that the space's YAML asks for, once each."""
    asked = (option.asked for variable in space.variables for option in variable.options)
    return [choice for choice in dict.fromkeys(asked) if choice != VANILLA]
