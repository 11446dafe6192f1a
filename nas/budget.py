"""Budgets: upper limits on costs, as a user writes them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.checks import BadInput

PREFIXES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNITS = {"FLOPs": "flops", "Params": "params", "ms": "latency_ms"}
EXAMPLES = "2.5GFLOPs, 300MFLOPs, 12MParams or 1.2ms"


@dataclass(frozen=True)
class Budget:
    """``metric`` (flops, params or latency_ms) must not exceed ``limit``; ``text`` is the user's wording."""

    metric: str
    limit: float
    text: str

    def __str__(self) -> str:
        return self.text


def parse_budget(text: str) -> Budget:
    """``2.5GFLOPs`` → at most 2.5e9 multiply-adds. ValueError on anything that isn't a positive number with a unit."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([KMGT]?)(FLOPs|Params|ms)\s*", text, re.IGNORECASE)
    if match is None:
        raise BadInput(f"a budget is a number above 0 with its unit, such as {EXAMPLES}; got {text!r}")
    value, prefix, unit = match.groups()
    metric = {name.lower(): metric for name, metric in UNITS.items()}[unit.lower()]
    if metric == "latency_ms" and prefix:
        raise BadInput(f"a latency budget is in ms, such as 1.2ms; got {text!r}")
    limit = float(value) * PREFIXES[prefix.upper()]
    if not 0 < limit < math.inf:
        raise BadInput(f"a budget must be above 0, such as {EXAMPLES}; got {text!r}")
    return Budget(metric, limit, text.strip())


def broken(budgets: tuple[Budget, ...], costs: Mapping[str, float]) -> list[Budget]:
    """The budgets that ``costs`` (metric → value) do not keep."""
    return [budget for budget in budgets if costs[budget.metric] > budget.limit]


def show(metric: str, value: float) -> str:
    """``("flops", 2.5e9)`` → ``2.500 GFLOPs``."""
    if metric == "latency_ms":
        return f"{value:.3g} ms"
    unit = next(name for name, m in UNITS.items() if m == metric)
    prefix, scale = next((p, s) for p, s in reversed(PREFIXES.items()) if value >= s or p == "")
    return f"{value / scale:.4g} {prefix}{unit}"
