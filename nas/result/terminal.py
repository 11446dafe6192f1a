"""What a user sees on a terminal, or in a pipe, while a search runs; imports nothing that is slow to import."""

import codecs
import os
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trainers.report import Report, Status

from ..metrics import show
from ..record import Record
from ..run.watch import Watch

HEARTBEAT_S = 10.0
SIGN_OF_LIFE_S = 5.0
PLAIN = {
    "α": "alpha",
    "×": "x",
    "→": "->",
    "±": "+-",
    "²": "^2",
    "…": "...",
    "≥": ">=",
    "≤": "<=",
    "–": "-",
    "τ": "tau",
}


def make_printable() -> None:
    """From now on, what an output's encoding can't show is said in plain letters instead of ending the program."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end


class Printer(Console):
    """A console whose reader may go away (``… | head``): nothing more is printed then, and the work goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Terminal(Watch):
    """A bar and lines on a terminal; elsewhere lines, and now and then where the trials are."""

    def __init__(self, console: Console) -> None:
        self.console, self.states, self.lines = console, dict[str, str](), set[str]()
        self.last_line = time.monotonic()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self.status = console.status("")
        self.task = self.bar.add_task("waiting for the first epoch", total=None)

    def said(self, text: str) -> None:
        """A line that was said before is not said again."""
        if text not in self.lines:
            self.lines.add(text)
            self._print(text)

    def doing(self, text: str) -> None:
        if self.console.is_terminal:
            self.bar.stop()
            self.status.update(text)
            self.status.start()
        elif time.monotonic() - self.last_line > SIGN_OF_LIFE_S:
            self._print(text)

    def planned(self, trials: int) -> None:
        self.status.stop()
        self.bar.reset(self.task, total=trials)
        self.bar.start()

    def running(self, name: str, report: Report | None) -> None:
        first = not self.states
        self.states[name] = f"{name} {_state(report)}"
        text = " | ".join(self.states.values())
        self.bar.update(self.task, description=text)
        if not self.console.is_terminal and (first or time.monotonic() - self.last_line > HEARTBEAT_S):
            self._print(f"  running: {text}")

    def ended(self, record: Record) -> None:
        self.states.pop(record.name, None)
        self.bar.advance(self.task)
        if record.status is not Status.FINISHED:
            self._print(f"{record.name}: {record.status}: {record.reason}")
            return
        assert record.accuracy is not None
        costs = ", ".join(show(name, value) for name, value in record.costs.items())
        parts = f" in {record.micro_batches} micro-batches" if record.micro_batches > 1 else ""
        self._print(f"{record.name}: accuracy {record.accuracy:.1%}, {costs}, {record.train_s or 0:.0f} s{parts}")

    def closed(self) -> None:
        self.status.stop()
        self.bar.stop()

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=not self.console.is_terminal)
        self.last_line = time.monotonic()


def _state(report: Report | None) -> str:
    """How far a trial is."""
    if report is None or (not report.epoch and report.initial_accuracy is None):
        return "starts"
    if not report.epoch:
        return f"starts at {report.initial_accuracy:.1%}"
    return f"epoch {report.epoch}" + ("" if report.accuracy is None else f" {report.accuracy:.1%}")
