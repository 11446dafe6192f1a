"""What Ray's dashboard and ``ray list tasks`` call each trial: its run, its name, its FLOPs, its accuracy so far.

Tune trains trial after trial in the same actors, and an actor keeps the name that it began with. So one small actor
beside them has a task for each trial, which does nothing but last as long as the trial and bear its name.
"""

from asyncio import Event
from typing import TYPE_CHECKING, Any

import ray

from trainers.report import Report

from ..cost.table import CostTable
from ..record import Record
from ..watch.watch import Watch

if TYPE_CHECKING:
    from ..candidates import Candidate

MOST = 10_000  # trials that run at once


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
        self.actor: Any = None

    def began(self, candidate: "Candidate", seconds: float) -> None:
        self.costs[candidate.name] = f"{self.table.total(candidate.architecture)['flops'] / 1e9:.3f} GFLOPs"

    def running(self, name: str, report: Report | None) -> None:
        if report is None or report.accuracy is None:
            self._show(name, "")
        else:
            self._show(name, f", {100 * report.accuracy:.1f}% after {report.epoch} epochs")

    def ended(self, record: Record) -> None:
        accuracy = "" if record.accuracy is None else f" at {100 * record.accuracy:.1f}%"
        self._show(record.name, f", {record.status.value}{accuracy}", ended=True)

    def closed(self) -> None:
        if self.actor is not None:
            ray.kill(self.actor)
            self.actor = None

    def _show(self, name: str, how: str, ended: bool = False) -> None:
        if self.actor is None:
            self.actor = ray.remote(num_cpus=0, max_concurrency=MOST)(Trials).remote()
        cost = self.costs.pop(name, "") if ended else self.costs.get(name, "")
        text = " ".join(f"{self.run} {name} {cost}".split()) + how
        self.actor.trial.options(name=text).remote(name, ended)
