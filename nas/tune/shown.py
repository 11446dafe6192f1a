"""What Ray's dashboard and ``ray list tasks`` call each trial: its run, its name, its FLOPs, its accuracy so far.

Tune trains trial after trial in the same actors, and an actor keeps the name that it began with. So one small actor
beside them has a task for each trial, which does nothing but last as long as the trial and bear its name.
"""

import time
from asyncio import Event
from typing import TYPE_CHECKING, Any

import ray

from trainers.report import Report

from ..cost.table import CostTable
from ..metrics import show
from ..record import Record
from ..watch.watch import Watch

if TYPE_CHECKING:
    from ..candidates import Candidate

MOST = 10_000  # trials that run at once
PAUSE_S = 1.0  # between two words of one trial: each is a task, which costs half a millisecond


class Trials:
    """Runs no trial: its tasks are called by them."""

    def __init__(self) -> None:
        self.going: dict[str, Event] = {}

    async def trial(self, name: str, ended: bool) -> None:
        """Lasts until the next word of this trial; the last one is over at once."""
        if name in self.going:
            self.going.pop(name).set()
        if not ended:
            self.going[name] = mine = Event()
            await mine.wait()


class ShownTrials(Watch):
    """Keeps Ray's list of tasks true."""

    def __init__(self, run: str, table: CostTable) -> None:
        self.run, self.table = run, table
        self.costs: dict[str, str] = {}
        self.shown_at: dict[str, float] = {}
        self.actor: Any = None

    def began(self, candidate: "Candidate", seconds: float) -> None:
        self.costs[candidate.name] = show("flops", self.table.total(candidate.architecture)["flops"])

    def running(self, name: str, report: Report | None) -> None:
        if report is None or report.accuracy is None:
            self._show(name, "")
        elif time.monotonic() > self.shown_at.get(name, 0.0) + PAUSE_S:
            self._show(name, f", epoch {report.epoch}: {100 * report.accuracy:.1f}%")

    def ended(self, record: Record) -> None:
        accuracy = "" if record.accuracy is None else f" at {100 * record.accuracy:.1f}%"
        self._show(record.name, f", {record.status.value}{accuracy}", ended=True)

    def closed(self) -> None:
        if self.actor is not None:
            ray.kill(self.actor)
            self.actor = None

    def _show(self, name: str, how: str, ended: bool = False) -> None:
        if self.actor is None:
            called = type(f"{self.run}, what runs", (Trials,), {})  # in the dashboard's list of actors
            self.actor = ray.remote(num_cpus=0, max_concurrency=MOST)(called).remote()
        text = " ".join(f"{self.run} {name} {self.costs.get(name, '')}".split()) + how
        self.shown_at[name] = time.monotonic()
        if ended:
            self.costs.pop(name, None)
            self.shown_at.pop(name)
        self.actor.trial.options(name=text).remote(name, ended)
