"""What a trial that has only begun will come to, by the learning curves of those that were finished before it."""

from collections.abc import Mapping, Sequence

import numpy as np

from .record import Record

LEAST = 8  # finished trials, before anything is predicted
LATEST = 400  # that are looked at: a prediction's time must not grow for ever


def expected(
    running: Record, ended: Sequence[Record], foreseen: Mapping[str, float] | None = None
) -> tuple[float, float] | None:
    """The accuracy with which it would finish, and the standard error of that prediction, noise included.

    By least squares on what it has shown so far: the accuracy that it started with, where candidates start from
    trained weights, and that of its latest epoch. ``None`` where too little is known.

    Args:
        foreseen: architecture key → what is expected of it without any score of its own, to be looked at as well.
    """
    epoch = running.epoch
    shown = _known(running, epoch, foreseen)
    if not shown:
        return None
    finished = [(then, r.accuracy) for r in ended[-LATEST:] if r.finished and (then := _known(r, epoch, foreseen))]
    if len(finished) < LEAST:
        return None
    points, found = np.array([then for then, _ in finished]), np.array([accuracy for _, accuracy in finished])
    centre = points.mean(axis=0)
    slopes, _, rank, _ = np.linalg.lstsq(points - centre, found - found.mean(), rcond=None)
    residue = found - found.mean() - (points - centre) @ slopes
    variance = float(residue @ residue) / (len(found) - 1 - int(rank))
    ahead = np.linalg.pinv((points - centre).T) @ (np.array(shown) - centre)
    mean = float(found.mean() + (np.array(shown) - centre) @ slopes)
    return mean, (variance * (1 + 1 / len(found) + float(ahead @ ahead))) ** 0.5


def _known(record: Record, epoch: int, foreseen: Mapping[str, float] | None) -> list[float] | None:
    """What was known after ``epoch`` epochs of a training that has come as far; nothing where it had shown nothing."""
    if len(record.accuracy_by_epoch) < epoch or (foreseen is not None and record.key not in foreseen):
        return None
    before = [] if foreseen is None else [foreseen[record.key]]
    started = [] if record.initial_accuracy is None else [record.initial_accuracy]
    shown = started + ([record.accuracy_by_epoch[epoch - 1]] if epoch else [])
    return before + shown if shown else None
