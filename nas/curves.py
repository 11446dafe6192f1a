"""What a trial that has only begun will come to, by the learning curves of those that were finished before it."""

from collections.abc import Sequence

import numpy as np

from trainers.report import Report

from .record import Record

LEAST = 8  # finished trials, before anything is predicted
LATEST = 400  # that are looked at: a prediction's time must not grow for ever


def expected(report: Report, ended: Sequence[Record]) -> tuple[float, float] | None:
    """The accuracy with which it would finish, and the standard error of that prediction, noise included.

    By least squares on what it has shown so far: the accuracy that it started with, where candidates start from
    trained weights, and that of its latest epoch. ``None`` where too little is known.
    """
    shown = _shown(report, report.epoch)
    if shown is None:
        return None
    finished = [
        (then, r.accuracy) for r in ended[-LATEST:] if r.finished and (then := _shown(r, report.epoch)) is not None
    ]
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


def _shown(report: Report, epoch: int) -> list[float] | None:
    """What was to be seen after ``epoch`` epochs, of a training that has come as far."""
    if len(report.accuracy_by_epoch) < epoch or (epoch == 0 and report.initial_accuracy is None):
        return None
    started = [] if report.initial_accuracy is None else [report.initial_accuracy]
    return started + ([report.accuracy_by_epoch[epoch - 1]] if epoch else [])
