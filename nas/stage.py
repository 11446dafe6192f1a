"""Judgings that are known beforehand, with a ledger of their own: repeats that show the noise, the final stage."""

from collections.abc import Callable, Sequence
from pathlib import Path

from trainers.report import Report

from .candidates import Candidate, recorded
from .cost.table import CostTable
from .record import Record
from .run.ledger import Ledger


class Stage:
    """Each of ``planned`` once. All of its state is its ledger: made anew, it goes on where the last process was.

    Args:
        kept: called with a finished candidate's report before its record is written.
        again: whether what stands in the ledger is judged once more.

    Attributes:
        disk_error: why nothing more can be written, if so; nothing is suggested then.
    """

    def __init__(
        self,
        file: Path,
        planned: Sequence[Candidate],
        table: CostTable,
        kept: Callable[[Report], None] | None = None,
        again: bool = False,
    ) -> None:
        self.ledger, self.table, self.kept = Ledger.open(file), table, kept
        judged = set() if again else {(r.key, r.seed) for r in self.ledger.records}
        self.waiting = [c for c in planned if (c.key, c.seed) not in judged]
        self.open: dict[str, Candidate] = {}
        self.disk_error: OSError | None = None

    @property
    def any_finished(self) -> bool:
        """Whether a judging of this stage has ever finished."""
        return any(r.finished for r in self.ledger.records)

    @property
    def to_do(self) -> int:
        """Judgings that are still to end."""
        return len(self.waiting) + len(self.open)

    def suggest(self) -> Candidate | None:
        """The next to be judged; ``None`` where there is none any more, or the disk is full."""
        if self.disk_error or not self.waiting:
            return None
        candidate = self.waiting.pop(0)
        self.open[candidate.name] = candidate
        return candidate

    def stops(self, name: str, report: Report) -> None:
        """Nothing here is ended early."""

    def update(self, name: str, report: Report) -> Record | None:
        """An open candidate has ended: into the ledger. ``None`` where that could not be written."""
        record = recorded(self.open[name], report, self.table)
        try:
            if self.kept is not None and record.finished:
                self.kept(report)
            self.ledger.append(record)
        except OSError as error:
            self.disk_error = error
            return None
        del self.open[name]
        return record
