"""A search's figures as Ray's metrics: what Prometheus scrapes, and the dashboard's Grafana shows (``deploy/``)."""

from contextlib import suppress
from threading import Event, Thread
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
AGAIN_S = 5.0  # Ray forgets a gauge that was not set for some twenty seconds; a trial's epoch may take longer


class Gauges(Tally):
    """Tells Ray how a search stands, whenever something happens, and again every few seconds until it is closed."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.gauges = {name: Gauge(PREFIX + name, description=text, tag_keys=("run",)) for name, text in GAUGES.items()}
        self.accuracy = Gauge(
            PREFIX + "trial_accuracy", description="a trial's latest accuracy, in [0, 1]", tag_keys=("run", "trial")
        )
        for gauge in (*self.gauges.values(), self.accuracy):
            gauge.set_default_tags({"run": run})
        self.now: dict[str, float] = {}
        self.over = Event()
        self.again: Thread | None = None

    def planned(self, trials: int) -> None:
        super().planned(trials)
        self._set()
        if self.again is None:
            self.again = Thread(target=self._repeat, name="metrics", daemon=True)
            self.again.start()

    def began(self, candidate: "Candidate", seconds: float) -> None:
        super().began(candidate, seconds)
        self._set()

    def running(self, name: str, report: Report | None) -> None:
        super().running(name, report)
        self._set()

    def ended(self, record: Record) -> None:
        super().ended(record)
        if record.accuracy is not None:
            self.accuracy.set(record.accuracy, {"trial": record.name})
        leader, volume = self.leader(), self.hypervolume()
        if leader is not None:
            self.now["best_accuracy"] = leader.accuracy or 0.0
        if volume is not None:
            self.now["hypervolume"] = volume
        self.now["front"] = len(self.front())
        self._set()

    def closed(self) -> None:
        super().closed()
        self.over.set()

    def _set(self) -> None:
        self.now |= {
            "trials_running": len(self.open),
            "trials_finished": self.done[Status.FINISHED],
            "trials_stopped": self.done[Status.STOPPED],
            "trials_failed": self.done[Status.FAILED],
            "trials_planned": self.total,
            "trials_per_hour": self.an_hour,
            "proposal_seconds": self.proposing_s,
        }
        self._tell()

    def _tell(self) -> None:
        for name, value in list(self.now.items()):
            self.gauges[name].set(value)
        for name, report in list(self.open.items()):
            if report is not None and report.accuracy is not None:
                self.accuracy.set(report.accuracy, {"trial": name})

    def _repeat(self) -> None:
        while not self.over.wait(AGAIN_S):
            with suppress(Exception):  # Ray was shut down, or is about to be
                self._tell()
