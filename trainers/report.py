"""What a trial reports of a candidate, after every epoch and at its end: one type, from the judge to the ledger."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a trial stands. The final ones end it for good: it is never trained again."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"  # by a stopping rule, before its training ended
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self is not Status.RUNNING


@dataclass(frozen=True, kw_only=True)
class Report:
    """One candidate's judging so far.

    Args:
        accuracy, test_accuracy: on the validation split (the search's objective) and on the test split (for reports),
            in [0, 1]; both are there once ``status`` is finished. Of a running trial, ``accuracy`` is the latest.
        cross_entropy: on the validation split, in nats, of the weights that ``accuracy`` is of; once it is finished.
        accuracy_by_epoch, loss_by_epoch: on the part of the validation split that the judge scores in between, but for
            the last epoch's; the mean training loss.
        started, ended: Unix times; ``starts`` are those at which it was begun or gone on with.
        train_s: seconds in training and scoring, in all processes that the trial had; ``step_s`` those since the
            report before. ``cpu_s`` is the processor's time in them, of all threads: far below ``train_s`` where other
            work took the cores.
        initial_accuracy: before any training, where a candidate starts from trained weights.
        substituted: slots where another choice stands in for the target's in the proxy.
        node, device: where it was judged last.
        micro_batches: parts that each batch went through in, more than one where memory lacked: BatchNorm sees parts.
        unwritten: why its last checkpoint could not be written.
        reason, traceback: why it failed or was stopped.
        weights: a finished proxy's, where they were asked for: a file's content; never in the ledger.
    """

    status: Status = Status.RUNNING
    accuracy: float | None = None
    test_accuracy: float | None = None
    cross_entropy: float | None = None
    accuracy_by_epoch: tuple[float, ...] = ()
    loss_by_epoch: tuple[float, ...] = ()
    started: float | None = None
    ended: float | None = None
    starts: tuple[float, ...] = ()
    train_s: float | None = None
    step_s: float | None = None
    cpu_s: float | None = None
    initial_accuracy: float | None = None
    substituted: tuple[str, ...] = ()
    node: str | None = None
    device: str | None = None
    micro_batches: int = 1
    unwritten: str | None = None
    reason: str | None = None
    traceback: str | None = None
    weights: bytes | None = None

    @property
    def epoch(self) -> int:
        """Epochs that were trained."""
        return len(self.loss_by_epoch)
