"""Between candidates and the trials that judge them: who runs, who is stopped, what a failure means for the others."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from trainers.report import Report, Status

from ..candidates import Candidate
from ..record import Record
from ..watch.watch import Watch

FEW = 4
STARVED = 0.5  # of the time that it took, a trial's share of its cores
STARVED_S = 20.0  # below which that says nothing


class Queue(Protocol):
    """What is to be judged, and what came of it: ``Candidates``, or a ``Stage``."""

    disk_error: OSError | None

    @property
    def any_finished(self) -> bool: ...
    @property
    def to_do(self) -> int: ...
    def suggest(self) -> Candidate | None: ...
    def stops(self, name: str, report: Report) -> str | None: ...
    def update(self, name: str, report: Report) -> Record | None: ...


class Conductor:
    """What happens to trials, told by their ids; it knows nothing of Ray.

    Failures before the first success are held back: where all fail alike, the search stops, and none of them is
    recorded, so that ``--resume`` tries them again when the cause is mended.

    Args:
        ended: called with each record that is on disk, before anyone who watches.

    Attributes:
        hopeless: why no trial of this search can succeed, if so.
        spent_s: seconds of training and scoring that were reported.
        running_s: seconds that trials ran, from the placing of each to its end, summed over all.
    """

    def __init__(self, candidates: Queue, ended: Callable[[Record], None], watch: Watch) -> None:
        self.candidates, self.ended, self.watch = candidates, ended, watch
        self.names: dict[str, str] = {}
        self.latest: dict[str, Report] = {}
        self.hopeless: str | None = None
        self.spent_s = self.running_s = 0.0
        self._running: set[str] = set()
        self._clock = time.monotonic()
        self._dead: list[str] = []  # whose process died since anyone reported
        self._deaths = Counter[str]()
        self._in_vain: dict[str, Report] = {}  # failures before the first success
        self._succeeded = candidates.any_finished
        self._reported = self._succeeded

    @property
    def over(self) -> bool:
        """Whether nothing more is to be run, whatever is open."""
        return self.hopeless is not None or self.candidates.disk_error is not None

    def begin(self, trial: str) -> Candidate | None:
        """The candidate that a new trial judges; ``None`` where there is none any more."""
        start = time.monotonic()
        candidate = None if self.over else self.candidates.suggest()
        if candidate is not None:
            self.names[trial] = candidate.name
            self.watch.began(candidate, time.monotonic() - start)
        return candidate

    def started(self, trial: str) -> None:
        """A trial was placed: it has a process, or had one and has another."""
        if trial in self.names:
            self._tick()
            self._running.add(trial)
            self.watch.running(self.names[trial], self.latest.get(trial))

    def heard(self, trial: str, report: Report) -> bool:
        """A trial reported; returns whether it is to be stopped."""
        if trial not in self.names:
            return False
        self._tick()
        self._dead, self._reported = [], True
        self.spent_s += report.step_s or 0.0
        reason = self.candidates.stops(self.names[trial], report)
        if reason is not None:
            report = replace(report, status=Status.STOPPED, reason=reason)
        self.latest[trial] = report
        if report.unwritten:
            self.watch.said(f"a checkpoint can't be written, trials go on without: {report.unwritten}")
        self._say_if_starved(report)
        if not report.status.is_final:
            self.watch.running(self.names[trial], report)
        return reason is not None

    def _say_if_starved(self, report: Report) -> None:
        """Training on a CPU that had it to itself spends all its time computing."""
        took, spent = report.train_s or 0.0, report.cpu_s
        on_cpu = (report.device or "").startswith("cpu")
        if on_cpu and spent is not None and took > STARVED_S and spent < STARVED * took:
            self.watch.said(
                "trials are starved: other work takes their cores; it costs time, not accuracy "
                "(in the ledger: cpu_s beside train_s)"
            )

    def completed(self, trial: str) -> None:
        """A trial's process gave up its candidate: for good if its last report is final, else by Ctrl-C."""
        report = self.latest.get(trial)
        if trial in self.names and report is not None and report.status.is_final:
            self._end(trial, report)

    def died(self, trial: str, error: str) -> None:
        """A trial's process died; it goes on in another."""
        name = self.names.get(trial)
        if name is None:
            return
        self._gone(trial)
        self._dead.append(name)
        self._deaths[name] += 1
        times = f" ({self._deaths[name]} times now)" if self._deaths[name] > 1 else ""
        self.watch.said(f"{name}: its process died{times}; it goes on in another")
        if self._all_die():
            self.hopeless = f"trials' processes died {len(self._dead)} times without a report: {_last_line(error)}"

    def failed(self, trial: str, error: str) -> None:
        """A trial's process died more often than it is begun again."""
        if trial in self.names:
            last = replace(self.latest.get(trial, Report()), status=Status.FAILED, accuracy=None)
            self._end(trial, replace(last, reason=_last_line(error), traceback=error))

    def settle(self) -> None:
        """No trial runs any more: what was held back is recorded if nothing else is left to do.

        Where more is (Ctrl-C, or it is hopeless), it is tried again when the run is gone on with.
        """
        if self.hopeless is None and self.candidates.to_do == len(self._in_vain):
            self._record_held()

    def _record_held(self) -> None:
        held, self._in_vain = self._in_vain, {}
        for name, report in held.items():
            self._record(name, report)

    def _all_die(self) -> bool:
        """Whether it is not one candidate's fault, nor one node's.

        In a run where a trial has ever reported, every open trial must have died thrice, and several candidates.
        """
        several, times = (FEW, 3) if self._reported else (2, 2)
        return len(set(self._dead)) >= several and len(self._dead) >= max(FEW, times * len(self.names))

    def _end(self, trial: str, report: Report) -> None:
        name = self.names.pop(trial)
        self.latest.pop(trial, None)
        self._gone(trial)
        if report.status is Status.FAILED and not self._succeeded:
            self._in_vain[name] = report
            self.watch.said(f"{name}: failed: {report.reason}")
            if len(self._in_vain) >= FEW:
                self.hopeless = f"the first {len(self._in_vain)} trials all failed, the last by: {report.reason}"
            return
        self._succeeded = True
        self._record_held()
        self._record(name, report)

    def _record(self, name: str, report: Report) -> None:
        record = self.candidates.update(name, report)
        if record is not None:
            self.ended(record)
            self.watch.ended(record)

    def _gone(self, trial: str) -> None:
        self._tick()
        self._running.discard(trial)

    def _tick(self) -> None:
        now = time.monotonic()
        self.running_s += len(self._running) * (now - self._clock)
        self._clock = now


def _last_line(error: str) -> str:
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no error was recorded"
