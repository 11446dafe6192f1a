"""Budgets: upper limits on costs, as a user writes them."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from search_spaces.checks import BadInput

from .metrics import METRICS, PREFIXES, show

EXAMPLES = "2.5GFLOPs, 300MFLOPs, 12MParams, 1.2ms, 60% (of vanilla's FLOPs) or 60%ms"
NUMBER = r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)"
UNKNOWN = -math.inf  # of a share, before the whole is known: nothing keeps it
DIGITS = 12


@dataclass(frozen=True)
class Budget:
    """The cost ``metric``, a name in ``METRICS``, must not exceed ``limit``; ``text`` is the user's wording.

    ``share``: the limit as a share of the vanilla network's cost, where it was asked for so; ``of`` makes the limit.
    """

    metric: str
    limit: float
    text: str
    share: float | None = None

    def __str__(self) -> str:
        return self.text

    def of(self, vanilla: Mapping[str, float]) -> "Budget":
        """With its limit, and with it in its text, where it is a share of what the vanilla network costs."""
        if self.share is None or self.limit != UNKNOWN:
            return self
        whole = show(self.metric, self.share * vanilla[self.metric], DIGITS)
        return parse_budget(f"{self.text} ({whole})")

    def ends(self, least: float, most: float, vanilla: float) -> str:
        """What is reachable, as it was asked for: ``2.46012 GFLOPs to 4.29341 GFLOPs``, ``60.2% to 105%``."""
        if self.share is None:
            digits = 6 if METRICS[self.metric].prefixes else 3
            return " to ".join(show(self.metric, value, digits) for value in (least, most))
        return " to ".join(f"{100 * value / vanilla:.3g}%" for value in (least, most))


def parse_budget(text: str) -> Budget:
    """``2.5GFLOPs`` → at most 2.5e9 multiply-adds. BadInput on anything that isn't a positive number with a unit.

    ``60%`` and ``60%params`` are shares of the vanilla network's cost; ``60% (2.45 GFLOPs)`` is one worked out.
    """
    units = {metric.unit.lower(): name for name, metric in METRICS.items()}
    unit = "|".join(re.escape(u) for u in sorted(units, key=len, reverse=True))
    if shared := re.fullmatch(rf"\s*{NUMBER}\s*%\s*({unit})?\s*(?:\(([^()]*)\))?\s*", text, re.IGNORECASE):
        return _share(text.strip(), units, *shared.groups())
    match = re.fullmatch(rf"\s*{NUMBER}\s*([KMGT]?)({unit})\s*", text, re.IGNORECASE)
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


def _share(text: str, units: Mapping[str, str], number: str, unit: str | None, whole: str | None) -> Budget:
    share, metric = float(number) / 100, units[(unit or METRICS["flops"].unit).lower()]
    if not 0 < share < math.inf:
        raise BadInput(f"a budget must be above 0, such as {EXAMPLES}; got {text!r}")
    if whole is None:
        return Budget(metric, UNKNOWN, text, share)
    known = parse_budget(whole)
    if known.metric != metric or known.share is not None:
        raise BadInput(f"a share's whole is in {METRICS[metric].unit}, such as 60% (2.45GFLOPs); got {text!r}")
    return Budget(metric, known.limit, text, share)


def broken(budgets: Iterable[Budget], costs: Mapping[str, float]) -> list[Budget]:
    """The budgets that ``costs`` (metric → value) do not keep."""
    return [budget for budget in budgets if costs[budget.metric] > budget.limit]


def within(budgets: Iterable[Budget]) -> str:
    """``2.5GFLOPs and 12MParams``, or ``no budget``."""
    return " and ".join(str(b) for b in budgets) or "no budget"
