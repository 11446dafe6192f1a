"""The ledger: one JSON line per finished trial, appended and fsynced. It is the one source of truth of a run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from search_spaces import Architecture
from search_spaces.checks import BadInput

from . import journal


@dataclass(frozen=True)
class Record:
    """One trial that has ended. ``status`` is ``finished`` or ``failed``; a failed one has a ``reason``.

    ``accuracy`` (validation, the search's objective) and ``test_accuracy`` (for reports) are the proxy's, in [0, 1];
    ``flops``, ``params`` and ``latency_ms`` the target's. ``started`` and ``ended`` are Unix times; ``train_s`` is the
    time within that was spent in training and scoring; ``starts`` are the times at which it was begun or gone on
    with. ``accuracy_by_epoch`` is on an eighth of the validation split, but for the last epoch's.
    """

    trial: str
    key: str
    status: str
    architecture: Mapping[str, Any]
    flops: int
    params: int
    latency_ms: float
    accuracy: float | None = None
    test_accuracy: float | None = None
    accuracy_by_epoch: tuple[float, ...] = ()
    loss_by_epoch: tuple[float, ...] = ()
    started: float | None = None
    ended: float | None = None
    train_s: float | None = None
    substituted: tuple[str, ...] = ()
    node: str | None = None
    device: str | None = None
    starts: tuple[float, ...] = ()
    seed: int | None = None
    name: str | None = None
    reason: str | None = None
    traceback: str | None = None

    def costs(self) -> dict[str, float]:
        return {"flops": self.flops, "params": self.params, "latency_ms": self.latency_ms}

    def built_architecture(self) -> Architecture:
        return Architecture.from_dict(self.architecture)


@dataclass
class Ledger:
    """Appends records to a file and keeps them in memory, in order."""

    path: Path
    records: list[Record] = field(default_factory=list)

    def append(self, record: Record) -> None:
        """On disk when this returns; after an OSError it is neither on disk nor in memory."""
        journal.append(self.path, {key: value for key, value in asdict(record).items() if value is not None})
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
        BadInput: a line before the last is damaged; it names the line.
    """
    records = []
    for number, entry in enumerate(journal.read(path), start=1):
        try:
            sequences = {k: tuple(v) for k, v in entry.items() if isinstance(v, list)}
            records.append(Record(**{**entry, **sequences}))
        except TypeError as error:
            raise BadInput(f"{path}, line {number}: is no record of a trial: {error}") from None
    return records
