"""How the search went: progress, learning curves, and where the time was spent."""

from collections.abc import Sequence
from itertools import chain

from ..record import Record
from .facts import Facts
from .style import BLUE, GREY, ORANGE, RED, SKY, Figure, Trace, escaped, figure

MOST_CURVES = 300  # the latest; more can't be told apart
MOST_BRIGHT = 8


def progress_figure(facts: Facts, over_time: bool) -> Figure | None:
    """The hypervolume and the best score within the budgets, over the trials or the hours."""
    points = facts.progress
    if not points:
        return None
    began = min((r.started for r in facts.candidates if r.started is not None), default=points[0].at)
    x = [(p.at - began) / 3600 if over_time else p.trials for p in points]
    volume: Trace = {
        "type": "scatter",
        "mode": "lines",
        "name": "hypervolume",
        "x": x,
        "y": [100 * p.hypervolume for p in points],
        "line": {"color": BLUE, "shape": "hv"},
    }
    best: Trace = {
        "type": "scatter",
        "mode": "lines",
        "name": "best score within the budgets",
        "x": x,
        "y": [None if p.best is None else 100 * p.best for p in points],
        "line": {"color": ORANGE, "shape": "hv", "dash": "dash"},
    }
    return figure([volume, best], "hours" if over_time else "trials that have ended", "%", 360)


def curves_figure(facts: Facts) -> Figure | None:
    """Accuracy after each epoch; what was stopped ends early."""
    trained = [r for r in facts.candidates if r.accuracy_by_epoch][-MOST_CURVES:]
    if not trained:
        return None
    keys = {r.key for r in facts.front}
    bright = [r for r in trained if r.key in keys][:MOST_BRIGHT]
    ended = [r for r in trained if r.finished and r not in bright]
    stopped = [r for r in trained if not r.finished]
    traces = [_curves(ended, "finished", SKY, 1.0), _curves(stopped, "stopped or failed", RED, 1.0)]
    traces += [_curves([r], escaped(r.name), BLUE, 2.0) for r in bright]
    return figure([t for t in traces if t["x"]], "epochs", "accuracy, %")


def _curves(records: Sequence[Record], name: str, colour: str, width: float) -> Trace:
    """One line with gaps: a trace for each would be slow."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(chain.from_iterable([*range(1, len(r.accuracy_by_epoch) + 1), None] for r in records)),
        "y": list(chain.from_iterable([*(round(100 * a, 2) for a in r.accuracy_by_epoch), None] for r in records)),
        "line": {"color": colour, "width": width},
        "opacity": 1.0 if width > 1 else 0.6,
        "hoverinfo": "skip",
        "showlegend": True,
    }


def time_figure(facts: Facts) -> Figure | None:
    """Of each stage: hours of its trainings, and what was not training."""
    rows: dict[str, list[Record]] = {}
    for stage, record in facts.trainings:
        rows.setdefault(stage, []).append(record)
    timed = {name: spent(records) for name, records in rows.items() if any(r.train_s for r in records)}
    if not timed:
        return None
    kinds = (("training and scoring", BLUE), ("waiting for the processor", RED), ("placing, saving, waiting", GREY))
    stages = list(timed)[::-1]
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": kind,
            "y": stages,
            "x": [timed[stage][i] / 3600 for stage in stages],
            "marker": {"color": colour},
        }
        for i, (kind, colour) in enumerate(kinds)
    ]
    return figure(traces, "hours, of all trainings together", "", 150 + 36 * len(stages), barmode="stack")


def spent(records: Sequence[Record]) -> tuple[float, float, float]:
    """Seconds in training and scoring, waiting for the processor (on a CPU), and otherwise from begin to end.

    Of a trial that was gone on with, the time between its processes is none of it.
    """
    trained = waited = other = 0.0
    for r in records:
        inside = r.train_s or 0.0
        starved = 0.0 if r.cpu_s is None or not (r.device or "cpu").startswith("cpu") else max(0.0, inside - r.cpu_s)
        trained, waited = trained + inside - starved, waited + starved
        if r.started is not None and r.ended is not None and len(r.starts) <= 1:
            other += max(0.0, r.ended - r.started - inside)
    return trained, waited, other


def failures(records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """Name, status and reason of what has no score."""
    return [(r.name, str(r.status), r.reason or "") for r in records if not r.finished]
