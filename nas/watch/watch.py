"""Who watches a search. It is told what happens and changes nothing: no record, checkpoint or copy depends on it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.report import Report

from ..budget import Budget
from ..progress import Scale
from ..record import Record

if TYPE_CHECKING:
    from ..candidates import Candidate


@dataclass(frozen=True)
class Asked:
    """What is searched, as far as a watcher needs it; ``scale`` is what hypervolumes are measured by.

    ``also``: the keys of references that are candidates too, since they are in the space and within the budgets.
    ``seed`` is that of trials: the same names under another one are repeats.
    """

    run: str
    budgets: tuple[Budget, ...]
    scale: Scale
    also: frozenset[str] = frozenset()
    seed: int = 0


class Watch:
    """Sees everything and shows nothing: what a search from Python has by default."""

    def said(self, text: str) -> None:
        """One line for the user."""

    def searches(self, asked: Asked, before: Sequence[Record]) -> None:
        """A search begins, or goes on; ``before`` are the candidates that have ended in earlier processes."""

    def doing(self, text: str) -> None:
        """What takes a while now, before the trials."""

    def planned(self, trials: int) -> None:
        """So many trials are to end in the stage that begins now."""

    def began(self, candidate: "Candidate", seconds: float) -> None:
        """It is to be judged next; to propose it took so long."""

    def running(self, name: str, report: Report | None) -> None:
        """A trial was placed, or reported an epoch."""

    def ended(self, record: Record) -> None:
        """A trial's record is on disk."""

    def best(self, record: Record, by_model: tuple[float, float] | None) -> None:
        """What ``best.yaml`` is now; the mean and the error of its accuracy, by the model over all scores."""

    def closed(self) -> None:
        """No trial runs any more, whatever the reason."""


class Several(Watch):
    """Passes everything on to others; a fault of one costs nothing: a terminal that is gone ends no search."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self.watches = list(watches)

    def said(self, text: str) -> None:
        self._tell(lambda watch: watch.said(text))

    def searches(self, asked: Asked, before: Sequence[Record]) -> None:
        self._tell(lambda watch: watch.searches(asked, before))

    def doing(self, text: str) -> None:
        self._tell(lambda watch: watch.doing(text))

    def planned(self, trials: int) -> None:
        self._tell(lambda watch: watch.planned(trials))

    def began(self, candidate: "Candidate", seconds: float) -> None:
        self._tell(lambda watch: watch.began(candidate, seconds))

    def running(self, name: str, report: Report | None) -> None:
        self._tell(lambda watch: watch.running(name, report))

    def ended(self, record: Record) -> None:
        self._tell(lambda watch: watch.ended(record))

    def best(self, record: Record, by_model: tuple[float, float] | None) -> None:
        self._tell(lambda watch: watch.best(record, by_model))

    def closed(self) -> None:
        self._tell(lambda watch: watch.closed())

    def _tell(self, what: Callable[[Watch], None]) -> None:
        for watch in self.watches:
            try:
                what(watch)
            except Exception:
                logging.getLogger(__name__).debug("a watcher failed", exc_info=True)
