"""What was found: the front, and the final stage."""

from collections.abc import Sequence
from typing import Any

from ..metrics import METRICS
from ..record import Record
from ..result.verdict import Standing
from .facts import Facts
from .style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    SKY,
    Figure,
    Trace,
    bars,
    called,
    costs,
    escaped,
    figure,
    heading,
    percent,
    told,
)

PAD = 0.08  # of the range in view, at each side
IN_VIEW = 0.75  # of the networks, the most accurate ones
MOST_NAMES = 12


def front_figure(facts: Facts, metric: str) -> Figure:
    """Accuracy over one cost: candidates, the front, the uniform settings, the budget.

    In view is where the candidates are, so that what differs can be seen; a button shows everything.
    """
    finished = [r for r in facts.finished if metric in r.costs]
    front = [r for r in facts.front if metric in r.costs]
    beside = [r for r in facts.references if r.finished and metric in r.costs]
    traces = [
        _points(facts, metric, finished, "candidates", {"color": SKY, "size": 7, "opacity": 0.75}),
        _points(facts, metric, front, "front", {"color": BLUE, "size": 10}, with_bars=True),
        _points(
            facts, metric, beside, "uniform settings, vanilla", {"color": ORANGE, "size": 12, "symbol": "star"}, True
        ),
    ]
    if facts.best is not None and metric in facts.best.costs and facts.best.accuracy is not None:
        ring = {"color": RED, "size": 18, "symbol": "circle-open", "line": {"width": 3}}
        traces.append(_points(facts, metric, [facts.best], "best.yaml", ring))
    made = figure(
        traces,
        f"{heading(metric)} of the target network",
        "accuracy of the proxy, %",
        shapes=[_limit(b.limit / METRICS[metric].column[1]) for b in facts.run.question.budget if b.metric == metric],
        annotations=[
            *_named(facts, metric, beside),
            *(
                _beside(b.limit / METRICS[metric].column[1], f"budget {b}")
                for b in facts.run.question.budget
                if b.metric == metric
            ),
        ],
    )
    near = in_view(facts, metric)
    if near:
        x, y = _view(costs(near, metric)), _view(percent(near), 100 * facts.noise)
        made["layout"]["xaxis"]["range"], made["layout"]["yaxis"]["range"] = x, y
        made["layout"]["updatemenus"] = [_buttons(x, y)]
    return made


def in_view(facts: Facts, metric: str) -> list[Record]:
    """Where the candidates are: without what is dearer, and without the least accurate quarter, but for the front."""
    known = [r for r in facts.scored if metric in r.costs]
    dearest = 1.001 * _dearest(facts, metric)
    near = sorted((r for r in known if r.costs[metric] <= dearest), key=lambda r: -(r.accuracy or 0))
    kept = near[: max(2, round(IN_VIEW * len(near)))]
    keys = {r.key for r in kept}
    return [*kept, *(r for r in facts.front if r.key not in keys and metric in r.costs)]


def _dearest(facts: Facts, metric: str) -> float:
    """The budget, or what the dearest candidate costs if that is more."""
    limits = [b.limit for b in facts.run.question.budget if b.metric == metric]
    return max([*limits, *(r.costs[metric] for r in facts.finished if metric in r.costs)], default=0.0)


def _view(values: Sequence[float], least: float = 0.0) -> list[float]:
    low, high = min(values), max(values)
    pad = max(PAD * (high - low), least, 1e-3 * abs(high))
    return [low - pad, high + pad]


def _buttons(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    near = {"xaxis.range": [*x], "yaxis.range": [*y]}
    everything = {"xaxis.autorange": True, "yaxis.autorange": True}
    return {
        "type": "buttons",
        "direction": "right",
        "x": 0,
        "xanchor": "left",
        "y": 1.02,
        "yanchor": "bottom",
        "showactive": True,
        "buttons": [
            {"label": "where the candidates are", "method": "relayout", "args": [near]},
            {"label": "everything", "method": "relayout", "args": [everything]},
        ],
    }


def _points(
    facts: Facts, metric: str, records: Sequence[Record], name: str, marker: dict[str, Any], with_bars: bool = False
) -> Trace:
    trace: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": costs(records, metric),
        "y": percent(records),
        "text": [told(facts, r) for r in records],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": marker,
    }
    if with_bars and facts.noise:
        trace["error_y"] = bars(100 * facts.noise, marker["color"])
    return trace


def _named(facts: Facts, metric: str, records: Sequence[Record]) -> list[dict[str, Any]]:
    """The names of the uniform settings beside their stars, one above the other where they lie close."""
    said = []
    for i, record in enumerate(sorted(records, key=lambda r: -(r.accuracy or 0))[:MOST_NAMES]):
        place = {"x": costs([record], metric)[0], "y": percent([record])[0]}
        how = {"showarrow": False, "xanchor": "right" if i % 2 else "left", "xshift": -9 if i % 2 else 9}
        said.append({**place, **how, "text": escaped(called(record.name)), "font": {"size": 10}})
    return said


def _limit(value: float) -> dict[str, Any]:
    line = {"color": GREY, "dash": "dash", "width": 2}
    return {"type": "line", "x0": value, "x1": value, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def _beside(value: float, text: str) -> dict[str, Any]:
    place = {"x": value, "yref": "paper", "y": 0, "xanchor": "right", "yanchor": "bottom", "textangle": -90}
    return {**place, "text": escaped(text), "showarrow": False, "font": {"size": 11}}


def published_figure(facts: Facts) -> Figure | None:
    """What both papers print for this network, and where the best one of the run is in FLOPs."""
    points, best = facts.published, facts.best
    if not points:
        return None
    trace: Trace = {
        "type": "scatter",
        "mode": "markers+text",
        "name": "published",
        "x": [p.flops / 1e9 for p in points],
        "y": [p.accuracy for p in points],
        "text": [escaped(p.name) for p in points],
        "textposition": "bottom center",
        "textfont": {"size": 9},
        "hovertemplate": "%{text}: %{x:.3g} GFLOPs, %{y}%<extra></extra>",
        "marker": {"color": GREEN, "symbol": "diamond-open", "size": 8},
    }
    here = [] if best is None else [best.costs["flops"] / 1e9]
    return figure(
        [trace],
        "GFLOPs",
        "published top-1, %",
        showlegend=False,
        margin={"b": 50},
        shapes=[_limit(x) for x in here],
        annotations=[_beside(x, "best.yaml") for x in here],
    )


def final_figure(facts: Facts) -> Figure | None:
    """Mean accuracies of the final stage with their standard errors, the best on top; ``None`` where there was none."""
    verdict = facts.verdict
    if verdict is None:
        return None
    standings = verdict.standings[::-1]
    names = [_called(s) for s in standings]
    colours = [BLUE if s.is_candidate else GREY if s.name == "vanilla" else ORANGE for s in standings]
    validation: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "validation, mean over the seeds ± standard error",
        "x": [100 * s.accuracy for s in standings],
        "y": names,
        "error_x": bars([100 * verdict.error(s) for s in standings], GREY),
        "marker": {"color": colours, "size": 11, "symbol": ["circle" if s.is_candidate else "star" for s in standings]},
    }
    test: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "test, which has chosen nothing",
        "x": [100 * s.test_accuracy for s in standings],
        "y": names,
        "marker": {"color": GREEN, "symbol": "line-ns-open", "size": 12, "line": {"width": 2}},
    }
    return figure(
        [validation, test],
        "accuracy of the proxy, trained from nothing, %",
        "",
        130 + 34 * len(standings),
        margin={"l": 10},
    )


def _called(standing: Standing) -> str:
    return f"{escaped(called(standing.name))}  {standing.flops / 1e9:.3f} G"


def score_against_final(facts: Facts) -> Figure | None:
    """How far a score agrees with the final stage: of the networks that have both; ``None`` where fewer than two do."""
    if facts.verdict is None:
        return None
    scores = {r.key: r for r in [*facts.references, *facts.candidates] if r.finished}
    both = [s for s in facts.verdict.standings if s.key in scores]
    if len(both) < 2:
        return None
    x = [100 * (scores[s.key].accuracy or 0) for s in both]
    y = [100 * s.accuracy for s in both]
    low, high = min(x + y), max(x + y)
    trace: Trace = {
        "type": "scatter",
        "mode": "markers+text",
        "name": "networks",
        "x": x,
        "y": y,
        "text": [escaped(called(s.name)) for s in both],
        "textposition": "top center",
        "textfont": {"size": 10},
        "error_x": bars(100 * facts.noise, GREY),
        "error_y": bars([100 * facts.verdict.error(s) for s in both], GREY),
        "marker": {"color": BLUE, "size": 9},
    }
    equal: Trace = {"type": "scatter", "mode": "lines", "name": "equal", "x": [low, high], "y": [low, high]}
    equal |= {"line": {"color": GREY, "dash": "dot"}, "hoverinfo": "skip"}
    return figure([trace, equal], "score of its trial, %", "mean of the final stage, %")
