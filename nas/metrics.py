"""What an architecture has: costs, known before training, and the objectives that a search trades off.

A new cost is a file in ``cost/`` with a function that measures a network, and a line in ``METRICS``: budgets, the table
of costs, the ledger, exports and tables then have it. A line in ``OBJECTIVES`` makes the search and the front weigh it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from search_spaces.late import Late

PREFIXES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True)
class Metric:
    """A cost that is additive over the slots of a network, exactly or nearly.

    Args:
        unit: as budgets name it, in any case; ``prefixes``: whether K, M, G, T may stand before it.
        cost: ``(model, shape, device) -> float`` for one input of ``shape`` (C, H, W); ``model`` is a whole network, or
            one slot's layer with the BatchNorm behind it. What no slot decides is the network's less its layers'.
        how: how it is measured, in words.
        column: the heading and scale of its column in tables, and the digits after the point.
        whole: ``(architectures, device) -> {key: (value, spread)}``, for a metric whose sum over layers only predicts a
            whole network's: what is exported is measured again by it.
        resolution: a smaller relative difference is none that anyone could notice, or that a measurement could tell:
            the front takes it for none.
    """

    unit: str
    cost: Callable[..., float]
    how: str
    column: tuple[str, float, int]
    prefixes: bool = True
    whole: Callable[..., dict[str, tuple[float, float]]] | None = None
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
        Late("nas.cost.latency", "latency_ms"),
        "sum of its layers, timed one by one",
        ("ms", 1.0, 2),
        prefixes=False,
        whole=Late("nas.cost.latency", "whole_latencies"),
        resolution=0.02,  # sums of timed layers scatter that much
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
