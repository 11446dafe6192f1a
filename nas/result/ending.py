"""How a search ended: what there is, exported, measured and drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search_spaces import Space
from search_spaces.checks import BadInput
from search_spaces.late import Late

from ..cost.table import CostTable
from ..devices import device_for_costs
from ..form import parse_form
from ..front import pareto_front
from ..pooled import Pooled
from ..record import Record
from ..run import Run
from ..stages import Stages, pooled_of
from ..watch.watch import Watch
from .export import Exporter, best_of, to_be_measured
from .found import Found, noise_in
from .measured import Measured
from .measuring import Run as Runner
from .measuring import measured_too
from .verdict import Verdict, verdict_of

_write_report = Late("nas.report.writing", "write_report")  # what draws is not wanted before there is something


@dataclass(frozen=True)
class Outcome:
    """What a search found, and how it ended.

    Args:
        candidates, references: records of all trials that have ended, in this process or before.
        best: the network within every budget that the final stage found best, or without one that the model over all
            trials does; ``best.yaml`` of the run is its.
        pool: the model over all that was judged, and the noise; ``None`` where nothing in the space was.
        verdict: of the final stage, if there was one.
        measured: whole networks' measurements, by architecture key and metric, with their errors.
        resolutions: metric → the relative difference that is none.
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
    resolutions: Mapping[str, float]
    pool: Pooled | None = None
    verdict: Verdict | None = None
    interrupted: bool = False
    exhausted: str | None = None
    in_training: float | None = None

    @property
    def front(self) -> list[Record]:
        return pareto_front(self.candidates, noise_in(self.pool), self.resolutions)


class Ending:
    """What a run has in the end: exports, whole networks' measurements, the report.

    Args:
        there: runs a function where latency is measured; ``None`` where that can't be reached.
    """

    def __init__(self, run: Run, space: Space, table: CostTable, stages: Stages, there: Runner | None) -> None:
        self.run, self.stages, self.candidates = run, stages, stages.candidates
        self.table, self.there = table, there
        self.exporter = Exporter(run, space, table, device_for_costs(run.question))

    def export(self, watch: Watch | None = None) -> None:
        """What there is, with what was measured before; ``watch`` is told what the best is."""
        found = self._found(self._known())
        best = self.exporter.export(self.candidates.ledger.records, found)
        if watch is not None and best is not None:
            watch.best(best, None if found.pool is None else found.pool.predicted.get(best.key))

    def report(self, watch: Watch) -> None:
        """The report, as things stand. A fault in it ends no search: what was found is exported before.

        Raises:
            OSError: it can't be written.
        """
        try:
            _write_report(self.run)
        except OSError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            watch.said(f"the report can't be drawn ({said}): python -m nas.report {self.run.folder} shows where")

    def _found(self, measured: Measured) -> Found:
        """What all records together say."""
        pool = pooled_of(self.run, self.exporter.space, self.stages.table, with_finals=True)
        return Found(measured, pool, verdict_of(self.stages.finals(), self.run.question.budget, measured))

    def outcome(self, watch: Watch) -> Outcome:
        """Export what is new; a run that has ended and was exported before is only read."""
        records, beside = self.candidates.ledger.records, self.candidates.references.records
        interrupted = self.candidates.to_do > 0 or self.stages.to_do() > 0
        waits = self.there is None and self._is_exported(left=True)
        if not interrupted and (self.is_over or waits):
            found = self._found(self._known())
            best = best_of(self.run, records, found)
            if waits:
                self._say_what_is_left(watch)
            self._say_doubts(found.measured, watch)
        else:
            measured, left = (self._known(), True) if interrupted else self._measured(records, beside, watch)
            found = self._found(measured)
            best = self.exporter.export(records, found)
            if not interrupted:
                said = {**measured.to_document(), "complete": self.candidates.complete}
                self.run.write_measured({"trials": self._counts(), **said, **({"left": True} if left else {})})
            self.report(watch)
        return Outcome(
            run=self.run,
            candidates=records,
            references=beside,
            best=best,
            measured=found.measured,
            resolutions=self.table.resolutions,
            pool=found.pool,
            verdict=found.verdict,
            interrupted=interrupted,
            exhausted=self.candidates.exhausted,
        )

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be exported or measured, of a run that has no trials left."""
        return self._is_exported(left=False) and not self.run.question.remeasure

    def _is_exported(self, left: bool) -> bool:
        """As it stands now; ``left``: but for whole networks, whose device was not to be had."""
        before = self.run.measured
        return before is not None and before["trials"] == self._counts() and before.get("left", False) == left

    def _say_what_is_left(self, watch: Watch) -> None:
        watch.said(
            f"whole networks are not timed: latency is that of {self.table.device}, which this machine does not reach; "
            f"--resume {self.run.folder} --address HOST:PORT times them on a cluster that has one"
        )

    def _counts(self) -> list[int]:
        """Of the records, by ledger, and of finalists asked for: what decides what is exported."""
        beside = (self.run.judged(stage) for stage in ("repeats", "final"))
        return [
            len(self.candidates.ledger.records),
            len(self.candidates.references.records),
            *map(len, beside),
            self.run.question.final,
        ]

    def _known(self) -> Measured:
        """What was measured when the run ended before."""
        return Measured.from_document(self.run.measured)

    def _measured(self, records: Sequence[Record], beside: Sequence[Record], watch: Watch) -> tuple[Measured, bool]:
        """With what is measured now; and whether some are left, since their device was not to be had."""
        self.export()  # first of all, whatever happens to the measurement
        question, before = self.run.question, self._known()
        known = Measured({}, {}) if question.remeasure else before
        if question.latency_on is None:
            watch.said("this run's latencies were measured in an earlier version's way: no whole network is timed now")
            return before, False
        if self.there is None:
            self._say_what_is_left(watch)
            return before, not self._is_exported(left=False)
        form = parse_form(question.latency_on)
        watch.doing("measuring whole networks")
        noise = noise_in(self._found(known).pool)
        wanted = to_be_measured(self.run, records, (*beside, *self.run.judged("final")), noise, self.table.resolutions)
        try:
            found = measured_too(
                known, wanted, self.exporter.space.backbone, form, self.there, self.table.device, self.table.base
            )
        except BadInput as error:  # what was trained is no worse for it
            watch.said(f"whole networks are not timed: {error}")
            return before, True
        self._say_doubts(found, watch)
        return found, False

    def _say_doubts(self, found: Measured, watch: Watch) -> None:
        if found.doubt:
            watch.said(f"latencies can't be trusted, {found.doubt}")
            watch.said(f"to measure them again: --resume {self.run.folder} --remeasure")
