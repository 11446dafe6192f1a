"""A stopping rule: whoever is below a half after two epochs is stopped."""

from collections.abc import Mapping, Sequence

from nas.record import Record
from nas.stopping import Rule
from trainers.report import Report


def make(seed: int) -> Rule:
    return _rule


def _rule(costs: Mapping[str, float], report: Report, ended: Sequence[Record]) -> str | None:
    bad = report.epoch == 2 and (report.accuracy or 0) < 0.5
    return f"{report.accuracy} after two epochs" if bad else None
