"""A run as one picture: accuracy over FLOPs, the front, the budget, and the papers' settings beside it."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainers.whole_file import write_whole

from ..budget import Budget
from ..papers.rows import Point
from ..record import Record
from .front import pareto_front


def draw(
    path: Path,
    title: str,
    budgets: Sequence[Budget],
    groups: tuple[Sequence[Record], Sequence[Record]],
    published: Sequence[Point] = (),
    noise: float = 0.0,
) -> None:
    """Write ``pareto.png``. The line joins the candidates that none beats in accuracy and FLOPs alone.

    ``published`` networks have an axis of their own, on the right: their accuracy is that of another task, after a full
    training; only their FLOPs, and their order among themselves, compare.

    Args:
        groups: candidates, and the uniform settings that they are compared with.
        noise: the standard deviation of one accuracy, in [0, 1]: each has a bar of it.
    """
    candidates, references = groups
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    finished = [r for r in candidates if r.finished]
    axes.scatter(*_points(finished), s=22, color="#9ecae1", label="candidates")
    front = pareto_front(finished, noise)
    axes.scatter(*_points(front), s=34, color="#08519c", label="front (accuracy, FLOPs, latency)")
    axes.plot(*_points(_staircase(finished)), color="#08519c", linewidth=1)
    trained = [r for r in references if r.finished]
    if noise:
        _draw_noise(axes, [*finished, *trained], noise)
    axes.scatter(*_points(trained), marker="*", s=90, color="#d94801", label="uniform settings")
    for r in (r for r in trained if not r.name.startswith("uniform ")):  # the space's own lie upon each other
        x, y = r.costs["flops"] / 1e9, 100 * (r.accuracy or 0)
        axes.annotate(r.name or "", (x, y), xytext=(4, 5), textcoords="offset points", fontsize=8)
    for budget in budgets:
        if budget.metric == "flops":
            axes.axvline(budget.limit / 1e9, color="#636363", linestyle="--", linewidth=1, label=f"budget {budget}")
    axes.set(xlabel="GFLOPs of the target network (multiply-adds)", ylabel="validation accuracy of the proxy, %")
    axes.set_title(title, parse_math=False)  # it is a folder's name, whatever is in it
    axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    if published:
        right = axes.twinx()
        _draw_published(right, published)
        more_handles, more_labels = right.get_legend_handles_labels()
        handles, labels = handles + more_handles, labels + more_labels
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=3)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    write_whole(path, drawn.getvalue())


def _draw_noise(axes: Axes, records: Sequence[Record], noise: float) -> None:
    """One standard deviation up and down."""
    label = "± one standard deviation between seeds"
    axes.errorbar(*_points(records), yerr=100 * noise, fmt="none", ecolor="#bdbdbd", elinewidth=0.8, label=label)


def _draw_published(axes: Axes, published: Sequence[Point]) -> None:
    """Hollow grey marks with small names."""
    x, y = [p.flops / 1e9 for p in published], [p.accuracy for p in published]
    label = "published, fully trained (right axis)"
    axes.scatter(x, y, s=16, marker="D", facecolors="none", edgecolors="#969696", label=label)
    for point in published:
        place = (point.flops / 1e9, point.accuracy)
        axes.annotate(point.name, place, xytext=(3, -7), textcoords="offset points", fontsize=5, color="#969696")
    axes.set_ylabel("published top-1 accuracy, %", color="#969696")


def _points(records: Sequence[Record]) -> tuple[list[float], list[float]]:
    return [r.costs["flops"] / 1e9 for r in records], [100 * (r.accuracy or 0) for r in records]


def _staircase(records: Sequence[Record]) -> list[Record]:
    """By FLOPs upwards, each more accurate than all before."""
    steps: list[Record] = []
    for record in sorted(records, key=lambda r: (r.costs["flops"], -(r.accuracy or 0))):
        if not steps or (record.accuracy or 0) > (steps[-1].accuracy or 0):
            steps.append(record)
    return steps
