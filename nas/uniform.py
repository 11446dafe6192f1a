"""Uniform settings, one choice in all slots: what a search has to beat, the papers' and the space's own."""

from collections.abc import Sequence

from search_spaces import VANILLA, Architecture, Choice, Space

from .budget import Budget, broken
from .cost.table import CostTable
from .papers.references import references

MOST = 4


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
            found.setdefault(architecture.key, (-costs["flops"], f"uniform {choice}", architecture))
    return {name: architecture for _, name, architecture in sorted(found.values(), key=lambda f: f[:2])[:MOST]}


def choices(space: Space) -> list[Choice]:
    """All that the space's YAML asks for, once each."""
    asked = (option.asked for variable in space.variables for option in variable.options)
    return [choice for choice in dict.fromkeys(asked) if choice != VANILLA]
