"""Who watches a search. It is told what happens and changes nothing: no record, checkpoint or copy depends on it."""

import logging
from collections.abc import Callable

from trainers.report import Report

from ..record import Record


class Watch:
    """Sees everything and shows nothing: what a search from Python has by default."""

    def said(self, text: str) -> None:
        """One line for the user."""

    def doing(self, text: str) -> None:
        """What takes a while now, before the trials."""

    def planned(self, trials: int) -> None:
        """So many trials are to end."""

    def running(self, name: str, report: Report | None) -> None:
        """A trial began, or reported an epoch."""

    def ended(self, record: Record) -> None:
        """A trial's record is on disk."""

    def closed(self) -> None:
        """No trial runs any more, whatever the reason."""


class Careful(Watch):
    """Passes everything on to another, whose own faults cost nothing: a terminal that is gone ends no search."""

    def __init__(self, to: Watch) -> None:
        self.to = to

    def said(self, text: str) -> None:
        self._tell(lambda: self.to.said(text))

    def doing(self, text: str) -> None:
        self._tell(lambda: self.to.doing(text))

    def planned(self, trials: int) -> None:
        self._tell(lambda: self.to.planned(trials))

    def running(self, name: str, report: Report | None) -> None:
        self._tell(lambda: self.to.running(name, report))

    def ended(self, record: Record) -> None:
        self._tell(lambda: self.to.ended(record))

    def closed(self) -> None:
        self._tell(self.to.closed)

    def _tell(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception:
            logging.getLogger(__name__).debug("a watcher failed", exc_info=True)
