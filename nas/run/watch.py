"""Who watches a search. It is told what happens and changes nothing: no record, checkpoint or copy depends on it."""

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
