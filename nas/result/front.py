"""The Pareto front: the trials that no other trial beats in every objective."""

from collections.abc import Iterable

from ..metrics import OBJECTIVES
from ..record import Record


def dominates(a: Record, b: Record) -> bool:
    """Whether ``a`` is at least as good as ``b`` in every objective and better in one."""
    of_a, of_b = _losses(a), _losses(b)
    return all(x <= y for x, y in zip(of_a, of_b, strict=True)) and of_a != of_b


def pareto_front(records: Iterable[Record]) -> list[Record]:
    """The finished trials that none dominates, the most accurate first."""
    finished = [r for r in records if r.finished]
    front = [r for r in finished if not any(dominates(other, r) for other in finished)]
    return sorted(front, key=_losses)


def _losses(record: Record) -> list[float]:
    """The objectives, turned so that less is better."""
    return [value if OBJECTIVES[name] == "minimize" else -value for name, value in record.objectives.items()]
