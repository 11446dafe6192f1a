"""Stopping rules by name: when a trial that can't matter any more is ended. A new one is a file plus a line here.

Each is a function of the run's seed that returns a ``Rule``.
"""

from collections.abc import Callable, Mapping, Sequence

from search_spaces.late import Late
from trainers.report import Report

from ..record import Record

Rule = Callable[[Mapping[str, float], Report, Sequence[Record]], str | None]
"""``(costs, report, ended)`` → why a candidate with these costs, which has reported so, is to be stopped, or ``None``.

``ended`` are the candidates' records so far. References are never stopped.
"""

STOPPING: dict[str, Callable[[int], Rule]] = {
    "none": Late("nas.stopping.none", "make"),
    "front": Late("nas.stopping.front", "make"),
}
