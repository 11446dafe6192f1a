"""The ledger: one JSON line per finished trial, appended and fsynced. It is the one source of truth of a run."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from search_spaces import Architecture


@dataclass(frozen=True)
class Record:
    """One trial that has ended. ``status`` is ``finished`` or ``failed``; a failed one has a ``reason``.

    ``accuracy`` (validation, the search's objective) and ``test_accuracy`` (for reports) are the proxy's, in [0, 1];
    ``flops``, ``params`` and ``latency_ms`` the target's. ``started`` and ``ended`` are Unix times; ``train_s`` is the
    time within that was spent in training and scoring. ``accuracy_by_epoch`` is on an eighth of the validation split,
    but for the last epoch's.
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
        """On disk when this returns."""
        present = {key: value for key, value in asdict(record).items() if value is not None}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(present) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)


def ledger_if_any(path: Path) -> list[Record]:
    """The records of a run whose first trial may not have ended yet."""
    return read_ledger(path) if path.exists() else []


def read_ledger(path: Path) -> list[Record]:
    """The records of a run, finished or not. ValueError names a line that is damaged."""
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            sequences = {k: tuple(v) for k, v in entry.items() if isinstance(v, list)}
            records.append(Record(**{**entry, **sequences}))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: is no record of a trial: {error}") from None
    return records
