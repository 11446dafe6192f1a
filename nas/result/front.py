"""The Pareto front: the trials that no other trial beats in every objective."""

from collections.abc import Iterable, Sequence
from typing import Literal

from ..run.ledger import Record

OBJECTIVES = ("accuracy", "flops", "latency_ms")
DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize", "minimize")


def values(record: Record) -> tuple[float, float, float]:
    """Accuracy up, FLOPs down, latency down, of a finished trial."""
    if record.accuracy is None:
        raise ValueError(f"trial {record.trial} has no accuracy: its status is {record.status}")
    return (record.accuracy, float(record.flops), record.latency_ms)


def dominates(a: Record, b: Record) -> bool:
    """Whether ``a`` is at least as good as ``b`` in every objective and better in one."""
    (acc_a, *costs_a), (acc_b, *costs_b) = values(a), values(b)
    no_worse = acc_a >= acc_b and all(x <= y for x, y in zip(costs_a, costs_b, strict=True))
    return no_worse and values(a) != values(b)


def pareto_front(records: Iterable[Record]) -> Sequence[Record]:
    """The finished trials that none dominates, the most accurate first."""
    finished = [r for r in records if r.status == "finished"]
    front = [r for r in finished if not any(dominates(other, r) for other in finished)]
    return sorted(front, key=lambda r: (-values(r)[0], r.flops))
