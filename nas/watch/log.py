"""A log file in the run: every line that was said, and every trial, with its time."""

from datetime import datetime
from pathlib import Path

from trainers.report import Status

from ..metrics import show
from ..record import Record
from .watch import Watch


class Log(Watch):
    """Appends to a text file, a line at a time."""

    def __init__(self, path: Path) -> None:
        self.path, self.lines = path, set[str]()

    def said(self, text: str) -> None:
        """A line that was said before is not said again."""
        if text not in self.lines:
            self.lines.add(text)
            self._write(text)

    def planned(self, trials: int) -> None:
        self._write(f"{trials} trials are to end")

    def ended(self, record: Record) -> None:
        self._write(line_of(record))

    def best(self, record: Record, by_model: tuple[float, float] | None) -> None:
        self._write(f"best.yaml is {record.name}")

    def _write(self, text: str) -> None:
        stamp = datetime.now().astimezone().isoformat(timespec="seconds")
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{stamp} {line}\n" for line in text.splitlines()))


def line_of(record: Record) -> str:
    """``0007: accuracy 81.2%, 2.5 GFLOPs, 15.7 MParams, 105 ms, 43 s``."""
    if record.status is not Status.FINISHED:
        return f"{record.name}: {record.status}: {record.reason}"
    costs = ", ".join(show(name, value) for name, value in record.costs.items())
    parts = f" in {record.micro_batches} micro-batches" if record.micro_batches > 1 else ""
    return f"{record.name}: accuracy {record.accuracy or 0:.1%}, {costs}, {record.train_s or 0:.0f} s{parts}"
