"""Budgets: upper limits on costs, as a user writes them."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from search_spaces.checks import BadInput

from .metrics import METRICS, PREFIXES

EXAMPLES = "2.5GFLOPs, 300MFLOPs, 12MParams or 1.2ms"


@dataclass(frozen=True)
class Budget:
    """The cost ``metric``, a name in ``METRICS``, must not exceed ``limit``; ``text`` is the user's wording."""

    metric: str
    limit: float
    text: str

    def __str__(self) -> str:
        return self.text


def parse_budget(text: str) -> Budget:
    """``2.5GFLOPs`` → at most 2.5e9 multiply-adds. BadInput on anything that isn't a positive number with a unit."""
    units = {metric.unit.lower(): name for name, metric in METRICS.items()}
    unit = "|".join(re.escape(u) for u in sorted(units, key=len, reverse=True))
    pattern = rf"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([KMGT]?)({unit})\s*"
    match = re.fullmatch(pattern, text, re.IGNORECASE)
    if match is None:
        raise BadInput(f"a budget is a number above 0 with its unit, such as {EXAMPLES}; got {text!r}")
    value, prefix, unit = match.groups()
    metric = units[unit.lower()]
    if prefix and not METRICS[metric].prefixes:
        raise BadInput(f"a budget in {METRICS[metric].unit} has no prefix, such as 1.2{unit}; got {text!r}")
    limit = float(value) * PREFIXES[prefix.upper()]
    if not 0 < limit < math.inf:
        raise BadInput(f"a budget must be above 0, such as {EXAMPLES}; got {text!r}")
    return Budget(metric, limit, text.strip())


def broken(budgets: Iterable[Budget], costs: Mapping[str, float]) -> list[Budget]:
    """The budgets that ``costs`` (metric → value) do not keep."""
    return [budget for budget in budgets if costs[budget.metric] > budget.limit]


def within(budgets: Iterable[Budget]) -> str:
    """``2.5GFLOPs and 12MParams``, or ``no budget``."""
    return " and ".join(str(b) for b in budgets) or "no budget"
