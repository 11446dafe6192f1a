"""A stopping rule: whoever is below a half after two epochs is stopped."""

from collections.abc import Sequence

from nas.record import Record
from nas.samplers.problem import Problem
from nas.stopping import Rule


def make(problem: Problem) -> Rule:
    return _rule


def _rule(running: Record, ended: Sequence[Record]) -> str | None:
    bad = running.epoch == 2 and (running.accuracy or 0) < 0.5
    return f"{running.accuracy} after two epochs" if bad else None
