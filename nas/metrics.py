"""What an architecture has: costs, known before training, and the objectives that a search trades off.

A new cost is a file in ``cost/`` with a function that measures a network, and a line in ``METRICS``: budgets, the table
of costs, the ledger, exports and tables then have it. A line in ``OBJECTIVES`` makes the search and the front weigh it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from search_spaces.late import Late

from .form import Form

PREFIXES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True)
class Metric:
    """A cost that is additive over the slots of a network, exactly or nearly.

    Args:
        unit: as budgets name it, in any case; ``prefixes``: whether K, M, G, T may stand before it.
        cost: ``(model, shape) -> float`` for one input of ``shape`` (C, H, W), where the metric is exactly additive;
            ``model`` is a whole network, or one slot's layer with the BatchNorm behind it. What no slot decides is the
            network's less its layers'.
        meter: where it is measured instead, and the sum over layers only predicts a whole network's: ``(form) ->
            meter``, which has the methods of ``cost.latency.Meter``. What is exported is measured by it.
        how: how it is had, in words.
        column: the heading and scale of its column in tables, and the digits after the point.
        resolution: a smaller relative difference is none that anyone could notice: the front takes it for none. Of a
            metric that is predicted, differences below the prediction's error are none either.
    """

    unit: str
    cost: Callable[..., float] | None
    how: str
    column: tuple[str, float, int]
    prefixes: bool = True
    meter: Callable[[Form], Any] | None = None
    resolution: float = 0.0


METRICS: dict[str, Metric] = {
    "flops": Metric(
        "FLOPs",
        Late("nas.cost.flops", "flops"),
        "multiply-adds, fvcore, eval mode, BatchNorm folded, one image",
        ("GFLOPs", 1e9, 3),
        resolution=0.01,
    ),
    "params": Metric(
        "Params",
        Late("nas.cost.flops", "params"),
        "as trained, BatchNorm included",
        ("MParams", 1e6, 2),
        resolution=0.01,
    ),
    "latency_ms": Metric(
        "ms",
        None,
        "its layers, each timed beside vanilla's in its place, put right by whole networks",
        ("ms", 1.0, 2),
        prefixes=False,
        meter=Late("nas.cost.latency", "Meter"),
        resolution=0.01,
    ),
}
OBJECTIVES: dict[str, Literal["maximize", "minimize"]] = {
    "accuracy": "maximize",
    "flops": "minimize",
    "latency_ms": "minimize",
}


def show(metric: str, value: float, digits: int = 4) -> str:
    """``("flops", 2.5e9)`` → ``2.5 GFLOPs``."""
    kind = METRICS[metric]
    prefix, scale = "", 1.0
    if kind.prefixes:
        prefix, scale = next((p, s) for p, s in reversed(PREFIXES.items()) if value >= s or p == "")
    return f"{value / scale:.{digits}g} {prefix}{kind.unit}"


def in_column(metric: str, value: float) -> str:
    """``("flops", 2.5e9)`` → ``2.500``, below the heading GFLOPs."""
    _, scale, digits = METRICS[metric].column
    return f"{value / scale:.{digits}f}"


def objectives(accuracy: float, costs: Mapping[str, float]) -> dict[str, float]:
    """Values of ``OBJECTIVES``, in their order; a cost that is not known is left out."""
    known = {**costs, "accuracy": accuracy}
    return {name: float(known[name]) for name in OBJECTIVES if name in known}


def directions() -> list[Any]:
    """Of ``OBJECTIVES``, in their order, as Optuna words them."""
    return list(OBJECTIVES.values())
