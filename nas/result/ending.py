"""How a search ended: what there is, exported, measured and drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from search_spaces import Space
from search_spaces.late import Late

from ..candidates import Candidates
from ..cost.latency import describe
from ..papers.rows import published
from ..preparation import device_for_costs
from ..record import Record
from ..run import Run
from ..run.watch import Watch
from .export import Exporter, best_of, measure_whole, to_be_measured
from .front import pareto_front
from .measured import Measured

_draw = Late("nas.result.picture", "draw")  # matplotlib is not wanted before there is something to draw


@dataclass(frozen=True)
class Outcome:
    """What a search found, and how it ended.

    Args:
        candidates, references: records of all trials that have ended, in this process or before.
        best: the most accurate candidate within every budget; ``best.yaml`` of the run is its.
        measured: whole networks' measurements, by architecture key and metric, with their spread.
        interrupted: whether trials are left to do; ``--resume`` goes on.
        exhausted: why there were no further proposals, if so.
        in_training: the share of the trials' time, from the placing of each to its end, that went into training and
            scoring, in this process.
    """

    run: Run
    candidates: Sequence[Record]
    references: Sequence[Record]
    best: Record | None
    measured: Measured
    interrupted: bool = False
    exhausted: str | None = None
    in_training: float | None = None

    @property
    def front(self) -> list[Record]:
        return pareto_front(self.candidates)


class Ending:
    """What a run has in the end: exports, whole networks' measurements, the picture."""

    def __init__(self, run: Run, space: Space, measured_on: str, candidates: Candidates) -> None:
        self.run, self.candidates = run, candidates
        self.device = device_for_costs(run.question)
        self.exporter = Exporter(run, space, self.device, measured_on)

    def export(self) -> None:
        """What there is, with what was measured before."""
        self.exporter.export(self.candidates.ledger.records, self._known())

    def outcome(self, watch: Watch) -> Outcome:
        """Export what is new; a run that has ended and was exported before is only read."""
        records, beside = self.candidates.ledger.records, self.candidates.references.records
        interrupted = self.candidates.to_do > 0
        before = self.run.measured
        if before is not None and before["trials"] == [len(records), len(beside)] and not interrupted:
            measured = self._known()
            best = best_of(self.run, records, measured)
        else:
            measured = self._known() if interrupted else self._measured(records, beside, watch)
            best = self.exporter.export(records, measured)
            points = published(self.exporter.space.backbone)
            _draw(
                self.run.folder / "pareto.png", self.run.folder.name, self.run.question.budget, records, beside, points
            )
            if not interrupted:
                counts = [len(records), len(beside)]
                said = {"device": measured.how, "networks": measured.networks, "complete": self.candidates.complete}
                self.run.write_measured({"trials": counts, **said})
        return Outcome(self.run, records, beside, best, measured, interrupted, self.candidates.exhausted)

    def _known(self) -> Measured:
        """What was measured when the run ended before."""
        before = self.run.measured
        return Measured({}, {}) if before is None else Measured(before["networks"], before["device"])

    def _measured(self, records: Sequence[Record], beside: Sequence[Record], watch: Watch) -> Measured:
        self.export()  # first of all, whatever happens to the measurement
        if not self.exporter.measured_here:
            watch.said(f"latency is that of {self.exporter.measured_on}: this machine times no whole networks")
            return self._known()
        watch.doing("measuring whole networks")
        torch.set_num_threads(1)
        networks = measure_whole(to_be_measured(self.run, records, beside), self.device)
        return Measured(networks, describe(self.device))
