"""Stops a trial that can't reach the front at its cost any more, by the learning curves of the trials before it."""

from collections.abc import Mapping, Sequence

from trainers.report import Report

from ..curves import expected
from ..metrics import OBJECTIVES
from ..record import Record
from . import Rule

ERRORS = 2.0  # of the prediction, by which it must fall short


def make(seed: int) -> Rule:
    return _rule


def _rule(costs: Mapping[str, float], report: Report, ended: Sequence[Record]) -> str | None:
    """Against the best that costs no more in any objective: a small network is not stopped for being small."""
    prediction = expected(report, ended)
    rivals = [r for r in ended if r.finished and all(r.costs[m] <= costs[m] for m in OBJECTIVES if m in costs)]
    if prediction is None or not rivals:
        return None
    best = max(rivals, key=lambda r: r.accuracy or 0.0)
    mean, error = prediction
    if mean + ERRORS * error >= (best.accuracy or 0.0):
        return None
    return (
        f"by epoch {report.epoch} it would come to {mean:.1%} ± {error:.1%}; "
        f"{best.name}, which costs no more, has {best.accuracy:.1%}"
    )
