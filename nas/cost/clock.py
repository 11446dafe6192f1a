"""A clock for passes of networks: in turn, by their ratios, alone, and honest about what it could not measure.

A machine that is shared drifts by tens of per cent within minutes; the ratio of two passes, one directly after the
other, survives that. So each pass is timed beside the first one, which is vanilla's, round by round, until the
standard error of its ratio is small enough. A reading that can't be trusted says why (``doubt``).
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

from search_spaces.checks import BadInput

LONG_S = 0.5  # of one pass
LEAST_ROUNDS, MOST_ROUNDS = 5, 60
HOPELESS_ROUNDS = 3  # of what will be in doubt, since others are busy and the patience is spent
AIM = 0.005  # the standard error of a ratio, at which there are rounds enough
WORST = 0.03  # the same, above which the ratio is in doubt
WAITED = 1.1  # wall time over processor time, above which a pass has waited for its core
BUSY = 0.25  # of all cores, taken by others, above which they disturb caches and memory too
WINDOW_S, LEAST_WINDOW_S = 0.5, 0.25  # over which the others' share is looked at: the clocks tick at 0.01 s
PATIENCE_S = 30.0
PATIENCE = "LAYERWISE_NAS_PATIENCE_S"
NORMAL = 1.4826  # a median distance from the median is so much less than a standard deviation
OF_MEDIAN = 1.2533  # the standard error of a median is so much more than that of a mean


@dataclass(frozen=True)
class Sample:
    """One pass: milliseconds, and whether it had its core for itself."""

    ms: float
    alone: bool = True


Pass = Callable[[], Sample]
"""Runs a network once on inputs of its own, and says how long it took."""


@dataclass(frozen=True)
class Timing:
    """Of one pass among those that were timed in turn.

    Args:
        ms: the median; ``quartiles`` are the lower and the upper one.
        ratio: to the first pass, the median over the rounds; ``error`` is its standard error.
        rounds: those that counted.
        doubt: why it can't be trusted; empty where it can.
    """

    ms: float
    quartiles: tuple[float, float]
    ratio: float
    error: float
    rounds: int
    doubt: str = ""


def patience() -> float:
    """Seconds that a measurement waits, in all, for a machine to be free; with 0 it is hurried.

    Raises:
        BadInput: the environment's setting is no such number.
    """
    said = os.environ.get(PATIENCE, str(PATIENCE_S))
    try:
        seconds = float(said)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BadInput(f"{PATIENCE} must be seconds, such as 60, or 0 for a hurry; got {said!r}")
    return seconds


@dataclass
class Clock:
    """Times passes in turn.

    It waits for others to leave the machine alone; where they don't, it says so after few rounds.

    Args:
        on_cpu: whether it is this machine's cores that run the passes.
        aim: the standard error of a ratio, at which it stops; above ``worst`` the ratio is in doubt.
        most_s: seconds for one call of ``in_turn``, waiting not counted.
        patience_s: seconds that it may wait in all, over its life, while others use the machine.
        hurried: neither wait nor repeat: a few rounds, which are in doubt.
    """

    on_cpu: bool = True
    aim: float = AIM
    worst: float = WORST
    most_s: float = 20.0
    patience_s: float = field(default_factory=patience)
    hurried: bool = field(default_factory=lambda: patience() == 0)
    load: "Load" = field(default_factory=lambda: Load())

    def in_turn(self, passes: Sequence[Pass], rounds: int = LEAST_ROUNDS, least: int = HOPELESS_ROUNDS) -> list[Timing]:
        """Time ``passes`` in turn (A B C, C B A, …): at least ``rounds`` rounds, or ``least`` where they are slow."""
        for run in passes:
            _warm_up(run)
        self._wait_for_others()
        busy = 0.0 if self.hurried or not self.on_cpu else self.load.others()
        samples: list[list[Sample]] = []
        began, start = _clocks(), time.perf_counter()
        while len(samples) < (HOPELESS_ROUNDS if self.hurried or busy > BUSY else MOST_ROUNDS):
            samples.append(_round(passes, backwards=len(samples) % 2 == 1))
            if time.perf_counter() - start > self.most_s and len(samples) >= min(least, rounds):
                break
            if len(samples) >= rounds and self._enough(samples):
                break
        if self.on_cpu and not self.hurried:
            busy = max(busy if busy > BUSY else 0.0, self.load.since(began))
        return self._timings(samples, busy)

    def _enough(self, samples: Sequence[Sequence[Sample]]) -> bool:
        counted = _counted(samples)
        if len(counted) < LEAST_ROUNDS:
            return False
        return all(_ratio(counted, i)[1] <= self.aim for i in range(1, len(counted[0])))

    def _wait_for_others(self) -> None:
        """Until they leave the machine alone, or the patience is spent."""
        while self.on_cpu and self.patience_s > 0 and self.load.others() > BUSY:
            time.sleep(WINDOW_S)
            self.patience_s -= WINDOW_S

    def _timings(self, samples: Sequence[Sequence[Sample]], busy: float) -> list[Timing]:
        counted = _counted(samples)
        waited = len(counted) < max(3, len(samples) / 2)
        if waited:
            counted = samples  # what there is, in doubt
        doubt = self._doubt(waited, busy)
        return [_timing(counted, i, doubt, self.worst) for i in range(len(samples[0]))]

    def _doubt(self, waited: bool, busy: float) -> str:
        if self.hurried:
            return f"it was timed in a hurry ({PATIENCE}=0)"
        if busy > BUSY:
            return f"other work took {busy:.0%} of the cores meanwhile"
        return "most passes waited for their core" if waited else ""


class Load:
    """What other processes take of all cores: a share of them, over windows of half a second and more."""

    def __init__(self) -> None:
        self._last = _clocks()
        self._share: float | None = None

    def others(self) -> float:
        """Their share since the last look, or what was found then, if that is not long ago."""
        gone = time.perf_counter() - self._last[0]
        if gone < WINDOW_S and self._share is not None:
            return self._share
        time.sleep(max(0.0, WINDOW_S - gone))
        return self.since(self._last)

    def since(self, began: tuple[float, float, float]) -> float:
        """Their share since the clocks said so; of too short a while, what was found last."""
        clocks = _clocks()
        wall, busy, own = (now - then for now, then in zip(clocks, began, strict=True))
        if wall < LEAST_WINDOW_S:
            return self.others()
        self._last = clocks
        self._share = min(1.0, max(0.0, (busy - own) / (wall * (psutil.cpu_count() or 1))))
        return self._share


def _clocks() -> tuple[float, float, float]:
    """Seconds: of the wall, of all cores at work, of this process at work."""
    times, own = psutil.cpu_times(), psutil.Process().cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return time.perf_counter(), total - idle, own.user + own.system


def cpu_pass(run: Callable[[], object]) -> Pass:
    """By this thread: what it waited for its core is the difference of the wall's and the processor's time."""

    def once() -> Sample:
        start, spent = time.perf_counter(), time.thread_time()
        run()
        wall, own = time.perf_counter() - start, time.thread_time() - spent
        return Sample(wall * 1e3, wall <= WAITED * own + 1e-4)

    return once


def _warm_up(run: Pass) -> None:
    """Twice; what takes long is warm after one."""
    start = time.perf_counter()
    run()
    if time.perf_counter() - start < LONG_S:
        run()


def _round(passes: Sequence[Pass], backwards: bool) -> list[Sample]:
    order = range(len(passes))
    taken = {i: passes[i]() for i in (reversed(order) if backwards else order)}
    return [taken[i] for i in order]


def _counted(samples: Sequence[Sequence[Sample]]) -> Sequence[Sequence[Sample]]:
    """The rounds in which every pass had its core."""
    return [row for row in samples if all(sample.alone for sample in row)]


def _ratio(samples: Sequence[Sequence[Sample]], i: int) -> tuple[float, float]:
    """Of pass ``i`` to the first one: the median over the rounds, and its standard error as a share of it."""
    ratios = [row[i].ms / row[0].ms for row in samples]
    return statistics.median(ratios), _scatter(ratios)


def _scatter(values: Sequence[float]) -> float:
    """The standard error of their median, as a share of it; infinite for one alone."""
    if len(values) < 3:
        return math.inf
    middle = statistics.median(values)
    if len(values) < LEAST_ROUNDS:  # too few for a deviation
        return (max(values) - min(values)) / 2 / middle
    deviation = NORMAL * statistics.median(abs(value - middle) for value in values)
    return OF_MEDIAN * deviation / len(values) ** 0.5 / middle


def _timing(counted: Sequence[Sequence[Sample]], i: int, doubt: str, worst: float) -> Timing:
    column = [row[i].ms for row in counted]
    low, median, high = statistics.quantiles(column, n=4, method="inclusive") if column[1:] else column * 3
    ratio, error = _ratio(counted, i) if i else (1.0, _scatter(column))
    if i and not doubt and error > worst:
        doubt = f"its ratio scatters by ± {error:.1%} after {len(counted)} rounds"
    return Timing(median, (low, high), ratio, error, len(counted), doubt)
