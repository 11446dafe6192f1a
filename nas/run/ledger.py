"""The ledger: one JSON line per trial that ended, appended and fsynced. It is the one source of truth of a run."""

from dataclasses import dataclass, field
from pathlib import Path

from search_spaces.checks import BadInput

from ..record import Record, record_from
from . import journal


@dataclass
class Ledger:
    """Appends records to a file and keeps them in memory, in order."""

    path: Path
    records: list[Record] = field(default_factory=list)

    def append(self, record: Record) -> None:
        """On disk when this returns; after an OSError it is neither on disk nor in memory."""
        journal.append(self.path, record.to_entry())
        self.records.append(record)

    @classmethod
    def open(cls, path: Path) -> "Ledger":
        """The ledger of a run, new or not, mended so that more can be appended."""
        records = read_ledger(path)
        journal.mend(path)
        return cls(path, records)


def read_ledger(path: Path) -> list[Record]:
    """The records of a run, finished or not; none where no trial has ended yet. A torn last line is dropped, and said.

    Raises:
        BadInput: a line before the last is damaged, or of a newer format; it names the line.
    """
    records = []
    for number, entry in enumerate(journal.read(path), start=1):
        try:
            records.append(record_from(entry))
        except (TypeError, KeyError, ValueError) as error:
            raise BadInput(f"{path}, line {number}: is no record of a trial: {error}") from None
    return records
