"""Stopping rules by name: when a trial that can't matter any more is ended. A new one is a file plus a line here.

Each is a function of the run's seed that returns a ``Rule``.
"""

from collections.abc import Callable, Sequence

from search_spaces.late import Late
from trainers.report import Report

from ..record import Record

Rule = Callable[[str, Report, Sequence[Record]], str | None]
"""``(name, report, ended)`` → why the candidate ``name``, which has reported ``report``, is to be stopped, or ``None``.

``ended`` are the candidates' records so far. References are never stopped.
"""

STOPPING: dict[str, Callable[[int], Rule]] = {
    "none": Late("nas.stopping.none", "make"),
}
