"""A search's figures as Ray's metrics: what Prometheus scrapes, and the dashboard's Grafana shows (``deploy/``)."""

from typing import TYPE_CHECKING

from ray.util.metrics import Gauge

from trainers.report import Report, Status

from ..record import Record
from ..watch.tally import Tally

if TYPE_CHECKING:
    from ..candidates import Candidate

GAUGES = {
    "best_accuracy": "the accuracy of the best network within every budget so far, in [0, 1]",
    "hypervolume": "over all smaller budgets, the mean of what the best network within has above guessing",
    "front": "networks on the front",
    "trials_running": "trials that run now",
    "trials_finished": "trials of this stage that have ended with a score",
    "trials_stopped": "trials of this stage that a stopping rule ended",
    "trials_failed": "trials of this stage that failed",
    "trials_planned": "trials of this stage",
    "trials_per_hour": "trials of this stage that ended, an hour",
    "proposal_seconds": "what the latest proposal took",
}
PREFIX = "nas_"


class Gauges(Tally):
    """Tells Ray how a search stands, whenever something happens."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.gauges = {name: Gauge(PREFIX + name, description=text, tag_keys=("run",)) for name, text in GAUGES.items()}
        self.accuracy = Gauge(
            PREFIX + "trial_accuracy", description="a trial's latest accuracy, in [0, 1]", tag_keys=("run", "trial")
        )
        for gauge in (*self.gauges.values(), self.accuracy):
            gauge.set_default_tags({"run": run})

    def planned(self, trials: int) -> None:
        super().planned(trials)
        self._set()

    def began(self, candidate: "Candidate", seconds: float) -> None:
        super().began(candidate, seconds)
        self._set()

    def running(self, name: str, report: Report | None) -> None:
        super().running(name, report)
        if report is not None and report.accuracy is not None:
            self.accuracy.set(report.accuracy, {"trial": name})
        self._set()

    def ended(self, record: Record) -> None:
        super().ended(record)
        if record.accuracy is not None:
            self.accuracy.set(record.accuracy, {"trial": record.name})
        leader, volume = self.leader(), self.hypervolume()
        if leader is not None:
            self.gauges["best_accuracy"].set(leader.accuracy or 0.0)
        if volume is not None:
            self.gauges["hypervolume"].set(volume)
        self.gauges["front"].set(len(self.front()))
        self._set()

    def _set(self) -> None:
        now = {
            "trials_running": len(self.open),
            "trials_finished": self.done[Status.FINISHED],
            "trials_stopped": self.done[Status.STOPPED],
            "trials_failed": self.done[Status.FAILED],
            "trials_planned": self.total,
            "trials_per_hour": self.an_hour,
            "proposal_seconds": self.proposing_s,
        }
        for name, value in now.items():
            self.gauges[name].set(value)
