"""Writes the report of a run into its folder, or one that compares several."""

from collections.abc import Sequence
from pathlib import Path

from trainers.whole_file import write_whole

from ..budget import within
from ..run import Run
from .facts import Facts
from .front_figures import front_figure
from .page import Part, Section, page
from .picture import FORMATS, draw_front, draw_layers
from .sections import answer_of, sections_of, subtitle_of
from .style import RUNS, SYMBOLS, Figure, costs, escaped, figure, heading, percent, told
from .table_csv import table_csv

REPORT, TABLE = "report.html", "trials.csv"
FRONT, LAYERS = "pareto", "layers"  # .png and .svg
DRAWN = (REPORT, TABLE, *(f"{name}.{kind}" for name in (FRONT, LAYERS) for kind in FORMATS))


def write_report(run: Run) -> Path:
    """``report.html``, ``trials.csv`` and the pictures of a run, as it stands."""
    facts = Facts.of(run)
    write_whole(run.folder / TABLE, table_csv(facts).encode())
    draw_front(facts, run.folder / FRONT)
    if facts.best is not None:
        draw_layers(facts, facts.best, run.folder / LAYERS)
    path = run.folder / REPORT
    write_whole(
        path, page(facts.name, subtitle_of(facts), answer_of(facts), sections_of(facts), _footer([run])).encode()
    )
    return path


def write_comparison(runs: Sequence[Run], path: Path) -> None:
    """Several runs on one page: their results, their fronts in one picture, their progress."""
    every = [Facts.of(run) for run in runs]
    budgets = "; ".join(dict.fromkeys(within(f.run.question.budget) or "no budget" for f in every))
    title = "  |  ".join(f.name for f in every)
    subtitle = f"{len(every)} runs side by side, within {budgets}."
    write_whole(path, page(title, subtitle, _differences(every), _compared(every), _footer(runs)).encode())


def _differences(every: Sequence[Facts]) -> str:
    """What may make their scores no comparison."""
    first = every[0].run.question
    apart = [
        name
        for name in ("judge", "recipe", "dataset", "proxy_width", "proxy_resolution", "weights")
        if any(getattr(f.run.question, name) != getattr(first, name) for f in every)
    ]
    if apart:
        return f"Their scores do not compare: they differ in {', '.join(apart)}. Their costs do."
    return "They were judged alike: their scores compare, to within their noise."


def _compared(every: Sequence[Facts]) -> list[Section]:
    headings = ["run", "space", "budget", "sampler", "seed", "candidates", "best score, %", "noise, points", "result"]
    cells = [
        [
            f.name,
            f.run.question.space_name,
            within(f.run.question.budget),
            f.run.question.sampler,
            str(f.run.question.seed),
            str(len(f.candidates)),
            "" if f.best is None or f.best.accuracy is None else f"{100 * f.best.accuracy:.2f}",
            f"{100 * f.noise:.2f}" if f.noise else "",
            answer_of(f),
        ]
        for f in every
    ]
    fronts = Part("", "Each run's front; the others are left out.", _fronts(every))
    progress = [Part("Hypervolume over the trials", figure=_volumes(every))]
    own = [
        [Part(f"{f.name}: accuracy over FLOPs", figure=front_figure(f, "flops")) for f in every if f.finished],
    ]
    return [
        Section("results", "Results", rows=[[Part(headings=headings, cells=cells)]]),
        Section("fronts", "The fronts together", rows=[[fronts]]),
        Section("progress", "How they went on", rows=[progress]),
        Section("each", "Each by itself", rows=[row for row in own if row]),
    ]


def _fronts(every: Sequence[Facts]) -> Figure:
    traces = []
    for i, facts in enumerate(every):
        front = [r for r in facts.front if "flops" in r.costs]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": escaped(facts.name),
                "x": costs(front, "flops"),
                "y": percent(front),
                "text": [told(facts, r) for r in front],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"color": RUNS[i % len(RUNS)], "symbol": SYMBOLS[i % len(SYMBOLS)], "size": 10},
            }
        )
    return figure(traces, heading("flops"), "accuracy of the proxy, %")


def _volumes(every: Sequence[Facts]) -> Figure:
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": escaped(facts.name),
            "x": [p.trials for p in facts.progress],
            "y": [100 * p.hypervolume for p in facts.progress],
            "line": {"color": RUNS[i % len(RUNS)], "shape": "hv", "dash": ("solid", "dash", "dot")[i % 3]},
        }
        for i, facts in enumerate(every)
    ]
    return figure(traces, "trials that have ended", "hypervolume, %")


def _footer(runs: Sequence[Run]) -> str:
    again = " ".join(str(run.folder) for run in runs)
    return f"Drawn by python -m nas.report {again}. FLOPs are multiply-adds of the network as deployed."
