"""Between candidates and the trials that judge them: who runs, who is stopped, what a failure means for the others."""

import time
from collections.abc import Callable
from dataclasses import replace

from trainers.report import Report, Status

from ..candidates import Candidate, Candidates
from ..record import Record
from ..run.watch import Watch

FEW = 4


class Conductor:
    """What happens to trials, told by their ids; it knows nothing of Ray.

    Args:
        ended: called with each record that is on disk, before anyone who watches.

    Attributes:
        hopeless: why no trial of this search can succeed, if so.
        spent_s: seconds of training and scoring that were reported.
        span_s: seconds from the beginning of the first step that was reported to the end of the last.
    """

    def __init__(self, candidates: Candidates, ended: Callable[[Record], None], watch: Watch) -> None:
        self.candidates, self.ended, self.watch = candidates, ended, watch
        self.names: dict[str, str] = {}
        self.latest: dict[str, Report] = {}
        self.hopeless: str | None = None
        self.spent_s = self.span_s = 0.0
        self._first_step: float | None = None
        self._deaths = 0
        self._in_vain: list[Record] | None = []  # what ended until the first trial that did not fail

    @property
    def over(self) -> bool:
        """Whether nothing more is to be run, whatever is open."""
        return self.hopeless is not None or self.candidates.disk_error is not None

    def begin(self, trial: str) -> Candidate | None:
        """The candidate that a new trial judges; ``None`` where there is none any more."""
        candidate = None if self.over else self.candidates.suggest()
        if candidate is not None:
            self.names[trial] = candidate.name
        return candidate

    def started(self, trial: str) -> None:
        if trial in self.names:
            self.watch.running(self.names[trial], self.latest.get(trial))

    def heard(self, trial: str, report: Report) -> bool:
        """A trial reported; returns whether it is to be stopped."""
        self._deaths = 0
        self._count_time(report)
        reason = self.candidates.stops(self.names[trial], report)
        if reason is not None:
            report = replace(report, status=Status.STOPPED, reason=reason)
        self.latest[trial] = report
        if report.unwritten:
            self.watch.said(f"a checkpoint can't be written, trials go on without: {report.unwritten}")
        if not report.status.is_final:
            self.watch.running(self.names[trial], report)
        return reason is not None

    def completed(self, trial: str) -> None:
        """A trial's process gave up its candidate: for good if its last report is final, else by Ctrl-C."""
        report = self.latest.get(trial)
        if trial in self.names and report is not None and report.status.is_final:
            self._end(trial, report)

    def died(self, trial: str, error: str) -> None:
        """A trial's process died; it goes on in another."""
        self._deaths += 1
        self.watch.said(f"{self.names[trial]}: its process died; it goes on in another")
        heard_of_any = self._first_step is not None
        if self._deaths >= max(FEW, (3 if heard_of_any else 2) * len(self.names)):
            reason = _last_line(error)
            self.hopeless = f"trials' processes died {self._deaths} times in a row without a report: {reason}"

    def failed(self, trial: str, error: str) -> None:
        """A trial's process died more often than it is begun again."""
        if trial in self.names:
            report = self.latest.get(trial, Report())
            self._end(
                trial, replace(report, status=Status.FAILED, accuracy=None, reason=_last_line(error), traceback=error)
            )

    def _end(self, trial: str, report: Report) -> None:
        record = self.candidates.update(self.names[trial], report)
        if record is None:
            return
        del self.names[trial]
        self.latest.pop(trial, None)
        self._weigh(record)
        self.ended(record)
        self.watch.ended(record)

    def _weigh(self, record: Record) -> None:
        """The first few all failed: so will the others."""
        if self._in_vain is None or record.status is not Status.FAILED:
            self._in_vain = None
            return
        self._in_vain.append(record)
        if len(self._in_vain) >= FEW:
            self.hopeless = f"the first {len(self._in_vain)} trials all failed, the last by: {record.reason}"

    def _count_time(self, report: Report) -> None:
        now, step_s = time.monotonic(), report.step_s or 0.0
        if self._first_step is None:
            self._first_step = now - step_s
        self.spent_s += step_s
        self.span_s = now - self._first_step


def _last_line(error: str) -> str:
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no error was recorded"
