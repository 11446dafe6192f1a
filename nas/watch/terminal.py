"""What a user sees on a terminal, or in a pipe, while a search runs; imports nothing that is slow to import."""

import codecs
import os
import sys
import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trainers.report import Report, Status

from ..metrics import METRICS, in_column, show
from ..record import Record
from .log import line_of
from .tally import Tally
from .watch import Asked
from .words import words

HEARTBEAT_S = 10.0
SIGN_OF_LIFE_S = 5.0
FRONT_HEAD, MOST_FRONT = 2, 8  # rows
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


class Terminal(Tally):
    """A live view on a terminal, below the lines; elsewhere lines, and now and then where the trials are."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console, self.states, self.lines = console, dict[str, str](), set[str]()
        self.last_line = time.monotonic()
        self.dashboard = ""
        self.shown: Sequence[Record] = ()  # the front
        self.status = console.status("")
        self.live = Live(console=console, get_renderable=self._view, refresh_per_second=2, transient=True)

    def searches(self, asked: Asked, before: Sequence[Record]) -> None:
        super().searches(asked, before)
        self.shown = self.front()

    def said(self, text: str) -> None:
        """A line that was said before is not said again."""
        if text not in self.lines:
            self.lines.add(text)
            self._print(text)
        if text.startswith("Ray dashboard"):
            self.dashboard = text.splitlines()[0]

    def doing(self, text: str) -> None:
        if self.console.is_terminal:
            self.live.stop()
            self.status.update(text)
            self.status.start()
        elif time.monotonic() - self.last_line > SIGN_OF_LIFE_S:
            self._print(text)

    def planned(self, trials: int) -> None:
        super().planned(trials)
        self.status.stop()
        self.states.clear()
        if self.console.is_terminal:
            self.live.start()

    def running(self, name: str, report: Report | None) -> None:
        super().running(name, report)
        first = not self.states
        self.states[name] = f"{name} {_state(report)}"
        if not self.console.is_terminal and (first or time.monotonic() - self.last_line > HEARTBEAT_S):
            left = "" if self.left_s is None else f"; about {words(self.left_s)} left"
            self._print(f"  running: {' | '.join(self.states.values())}{left}")

    def ended(self, record: Record) -> None:
        super().ended(record)
        self.states.pop(record.name, None)
        self.shown = self.front()
        self._print(line_of(record))

    def closed(self) -> None:
        self.status.stop()
        self.live.stop()

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=not self.console.is_terminal)
        self.last_line = time.monotonic()

    def _view(self) -> RenderableType:
        """How the search stands, in a few lines that fit the terminal."""
        width = self.console.width
        parts: list[RenderableType] = [Text(_counts(self), overflow="fold"), _bar(self)]
        if (best := self.leader()) is not None:
            parts.append(Text(_best(self, best), overflow="fold"))
        room = self.console.height - 10  # for the lines above, and those below
        if self.shown and room > FRONT_HEAD:
            parts.append(_front_table(self.shown, min(MOST_FRONT, room - FRONT_HEAD)))
        if self.states:
            parts.append(Text(f"running: {_fitting(list(self.states.values()), width - len('running: '))}"))
        if self.dashboard:
            parts.append(Text(self.dashboard, overflow="fold"))
        return Group(*parts)


def _counts(tally: Tally) -> str:
    done = tally.done
    ended = [f"{done[Status.FINISHED]} finished"]
    ended += [f"{done[status]} {status}" for status in (Status.STOPPED, Status.FAILED) if done[status]]
    left = "" if tally.left_s is None else f", about {words(tally.left_s)} left"
    said = f"{tally.ended_count} of {tally.total} trials ended ({', '.join(ended)}), {len(tally.open)} running"
    return f"{said}; {words(tally.spent_s)}{left}"


def _bar(tally: Tally) -> Table:
    line = Table.grid()  # a bar by itself ends no line
    line.add_row(ProgressBar(total=max(1, tally.total), completed=tally.ended_count, width=60))
    return line


def _best(tally: Tally, best: Record) -> str:
    model = ""
    if tally.by_model is not None and tally.chosen is best:
        model = " ({:.1%} ± {:.1%} by the model)".format(*tally.by_model)
    volume = tally.hypervolume()
    said = f"best within the budget: {best.name}, {best.accuracy or 0:.1%}{model}, {show('flops', best.costs['flops'])}"
    return said if volume is None else f"{said}; hypervolume {volume:.1%}"


def _front_table(front: Sequence[Record], most: int) -> Table:
    known = [name for name in METRICS if any(name in r.costs for r in front)]
    more = f", the {most} most accurate" if len(front) > most else ""
    table = Table(box=None, pad_edge=False, title=f"the front so far: {len(front)}{more}", title_justify="left")
    for heading in ("network", "accuracy", *(METRICS[name].column[0] for name in known)):
        table.add_column(heading, justify="left" if heading == "network" else "right", no_wrap=True)
    for record in front[:most]:
        costs = (in_column(name, record.costs[name]) if name in record.costs else "" for name in known)
        table.add_row(Text(record.name), f"{record.accuracy or 0:.1%}", *costs)
    return table


def _fitting(states: Sequence[str], width: int) -> str:
    """As many as a line holds; how many more there are."""
    for count in range(len(states), 0, -1):
        rest = len(states) - count
        text = " | ".join(states[:count]) + (f" and {rest} more" if rest else "")
        if len(text) <= width:
            return text
    return f"{len(states)} trials"


def _state(report: Report | None) -> str:
    """How far a trial is."""
    if report is None or (not report.epoch and report.initial_accuracy is None):
        return "starts"
    if not report.epoch:
        return f"starts at {report.initial_accuracy:.1%}"
    return f"epoch {report.epoch}" + ("" if report.accuracy is None else f" {report.accuracy:.1%}")
