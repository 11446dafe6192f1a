"""The main figures as files for a slide or a paper: PNG and SVG."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainers.whole_file import write_whole

from ..papers.rows import Point
from ..record import Record
from .facts import Facts
from .style import GREY, called, colour_of, operator_of, short

FORMATS = ("png", "svg")


def draw_front(facts: Facts, path: Path) -> None:
    """Accuracy over FLOPs. The line joins the candidates that none beats in accuracy and FLOPs alone.

    Published networks have an axis of their own, on the right: their accuracy is that of another task, after a full
    training; only their FLOPs, and their order among themselves, compare.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    finished = facts.finished
    axes.scatter(*_points(finished), s=22, color="#9ecae1", label="candidates")
    axes.scatter(*_points(facts.front), s=34, color="#08519c", label="front (accuracy, FLOPs, latency)")
    axes.plot(*_points(_staircase(finished)), color="#08519c", linewidth=1)
    trained = [r for r in facts.references if r.finished]
    if facts.noise:
        _draw_noise(axes, [*finished, *trained], facts.noise)
    axes.scatter(*_points(trained), marker="*", s=90, color="#d94801", label="uniform settings")
    for r in (r for r in trained if not r.name.startswith("uniform ")):  # the space's own lie upon each other
        x, y = r.costs["flops"] / 1e9, 100 * (r.accuracy or 0)
        axes.annotate(r.name or "", (x, y), xytext=(4, 5), textcoords="offset points", fontsize=8)
    for budget in facts.run.question.budget:
        if budget.metric == "flops":
            axes.axvline(budget.limit / 1e9, color="#636363", linestyle="--", linewidth=1, label=f"budget {budget}")
    axes.set(xlabel="GFLOPs of the target network (multiply-adds)", ylabel="validation accuracy of the proxy, %")
    axes.set_title(facts.name, parse_math=False)  # it is a folder's name, whatever is in it
    axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    if facts.published:
        right = axes.twinx()
        _draw_published(right, facts.published)
        more_handles, more_labels = right.get_legend_handles_labels()
        handles, labels = handles + more_handles, labels + more_labels
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=3)
    _save(figure, path)


def draw_layers(facts: Facts, record: Record, path: Path) -> None:
    """Where a network spends and saves: each searched layer's FLOPs beside the vanilla layer's."""
    shares = facts.shares(record, "flops")
    if not shares:
        return
    figure = Figure(figsize=(8, 1.4 + 0.22 * len(shares)), layout="constrained")
    axes = figure.subplots()
    places = range(len(shares))
    axes.barh(places, [whole / 1e6 for *_, whole in shares], color="#eeeeee", edgecolor=GREY, label="vanilla")
    for operator in dict.fromkeys(operator_of(choice) for _, choice, *_ in shares):
        own = [i for i, share in enumerate(shares) if operator_of(share[1]) == operator]
        axes.barh(own, [shares[i][2] / 1e6 for i in own], color=colour_of(operator), label=operator)
    for i, (_, choice, cost, whole) in enumerate(shares):
        text = f" {short(choice)}" + (f": {cost / whole:.0%}" if whole else "")
        axes.text(cost / 1e6, i, text, va="center", fontsize=7)
    axes.set_yticks(places, [slot for slot, *_ in shares], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("MFLOPs of the layer")
    axes.set_title(f"{facts.name}: {called(record.name)}", parse_math=False)
    figure.legend(fontsize=8, loc="outside lower center", ncols=4)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """``path`` without its suffix, in each of ``FORMATS``; text stays text, and the same run gives the same file."""
    undated: dict[str, Any] = {"metadata": {"Date": None}}
    for kind in FORMATS:
        drawn = io.BytesIO()
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name}):
            figure.savefig(drawn, dpi=110, format=kind, **(undated if kind == "svg" else {}))
        figure.set_layout_engine("none")  # it stays as it is laid out, which takes half the time
        write_whole(path.with_suffix(f".{kind}"), drawn.getvalue())


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
