"""Where a network spends and saves, layer by layer, and what the model learned of each layer."""

from collections.abc import Sequence

import numpy as np

from ..record import Record
from .facts import Effects, Facts
from .style import (
    BLUE,
    DIVERGING,
    GREY,
    RISING,
    Figure,
    Trace,
    bars,
    colour_of,
    escaped,
    figure,
    heading,
    operator_of,
    short,
)

DRAWS = 200  # of the posterior, for the error of how much a layer matters
MOST_FRONT = 24


def layers_figure(facts: Facts, record: Record, metric: str) -> Figure | None:
    """Of each searched layer its cost beside the vanilla layer's; ``None`` where it is not known."""
    shares = facts.shares(record, metric)
    if not shares:
        return None
    shares = shares[::-1]  # plotly draws from below
    scale = 1e6 if metric == "flops" else 1.0
    unit = "MFLOPs" if metric == "flops" else heading(metric)
    names = [slot for slot, *_ in shares]
    operators = list(dict.fromkeys(operator_of(choice) for _, choice, *_ in shares))[::-1]
    vanilla: Trace = {
        "type": "bar",
        "orientation": "h",
        "name": "vanilla",
        "y": names,
        "x": [whole / scale for *_, whole in shares],
        "marker": {"color": "rgba(153,153,153,0.25)", "line": {"color": GREY, "width": 1}},
        "hovertemplate": "%{y}: vanilla %{x:.3g}<extra></extra>",
    }
    height, order = 120 + 24 * len(shares), {"dtick": 1, "categoryorder": "array", "categoryarray": names}
    own = [_bars_of(operator, shares, scale) for operator in operators]
    return figure(
        [vanilla, *own], f"{unit} of the layer", "", height, barmode="overlay", margin={"l": 10, "r": 60}, yaxis=order
    )


def _bars_of(operator: str, shares: Sequence[tuple[str, str, float, float]], scale: float) -> Trace:
    """Of the layers that have this operator."""
    own = [share for share in shares if operator_of(share[1]) == operator]
    return {
        "type": "bar",
        "orientation": "h",
        "name": f"chosen: {operator}",
        "y": [slot for slot, *_ in own],
        "x": [cost / scale for _, _, cost, _ in own],
        "marker": {"color": colour_of(operator)},
        "text": [
            f"{escaped(short(c))}: {cost / whole:.0%}" if whole else escaped(short(c)) for _, c, cost, whole in own
        ],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertemplate": "%{y}: %{text}<extra></extra>",
    }


def over_the_front(facts: Facts) -> Figure | None:
    """The share of the vanilla layer's FLOPs that each network of the front keeps in each layer, cheapest first."""
    front = sorted((r for r in facts.front if facts.shares(r, "flops")), key=lambda r: r.costs["flops"])[:MOST_FRONT]
    if not front:
        return None
    columns = [facts.shares(r, "flops") for r in front]
    slots = [slot for slot, *_ in columns[0]][::-1]
    shares = [[round(cost / whole, 4) if whole else 1.0 for _, _, cost, whole in column][::-1] for column in columns]
    words = [[escaped(short(choice)) for _, choice, *_ in column][::-1] for column in columns]
    trace: Trace = {
        "type": "heatmap",
        "x": [f"{escaped(r.name)}  {r.costs['flops'] / 1e9:.2f} G" for r in front],
        "y": slots,
        "z": np.array(shares).T.tolist(),
        "text": np.array(words).T.tolist(),
        "hovertemplate": "%{y} of %{x}: %{text}, %{z:.0%}<extra></extra>",
        "colorscale": RISING,
        "zmin": min(map(min, shares)),
        "zmax": max(map(max, shares)),
        "colorbar": {"tickformat": ".0%", "thickness": 12},
        "xgap": 1,
        "ygap": 1,
    }
    if len(front) <= 6:
        trace["texttemplate"], trace["textfont"] = "%{z:.0%}", {"size": 11}
    return figure(
        [trace], "networks of the front", "", 110 + 22 * len(slots), margin={"l": 10, "b": 60}, yaxis={"dtick": 1}
    )


def effects_figure(effects: Effects) -> Figure | None:
    """Each option's effect on accuracy at each layer, against the mean of the layer's options."""
    if not effects:
        return None
    options = list(dict.fromkeys(option for _, names, *_ in effects for option in names))
    layers = effects[::-1]
    points: list[list[float | None]] = []
    words: list[list[str]] = []
    for _, names, means, errors in layers:
        at = {name: i for i, name in enumerate(names)}
        known = [at.get(option) for option in options]
        points.append([None if i is None else round(100 * float(means[i]), 3) for i in known])
        words.append(["" if i is None else f"{100 * means[i]:+.2f} ± {100 * errors[i]:.2f}" for i in known])
    largest = max((abs(v) for row in points for v in row if v is not None), default=1.0) or 1.0
    trace: Trace = {
        "type": "heatmap",
        "x": [escaped(short(option)) for option in options],
        "y": [name for name, *_ in layers],
        "z": points,
        "text": words,
        "hovertemplate": "%{y}, %{x}: %{text} points<extra></extra>",
        "colorscale": DIVERGING,
        "zmin": -largest,
        "zmax": largest,
        "colorbar": {"title": {"text": "points"}, "thickness": 12},
        "xgap": 1,
        "ygap": 1,
    }
    if len(options) * len(layers) <= 200:
        trace["texttemplate"], trace["textfont"] = "%{text}", {"size": 9}
    return figure(
        [trace],
        "",
        "",
        220 + 24 * len(layers),
        margin={"l": 10},
        xaxis={"tickangle": -60, "dtick": 1},
        yaxis={"dtick": 1},
    )


def importance_figure(facts: Facts) -> Figure | None:
    """How much a layer's choice matters: the standard deviation of its options' effects, with its error."""
    if facts.pool is None or facts.space is None:
        return None
    generator = np.random.default_rng(0)
    draws = [facts.pool.model.sample(generator) for _ in range(DRAWS)]
    spread = np.array([[float(effects.std()) for effects in draw] for draw in draws])  # (draws, variables)
    names = [v.name for v in facts.space.variables][::-1]
    trace: Trace = {
        "type": "bar",
        "orientation": "h",
        "name": "spread of the options' effects",
        "x": (100 * spread.mean(axis=0)[::-1]).round(3).tolist(),
        "y": names,
        "error_x": bars((100 * spread.std(axis=0)[::-1]).tolist(), GREY),
        "marker": {"color": BLUE},
    }
    margin = {"l": 10, "b": 50}
    return figure(
        [trace], "points of accuracy", "", 90 + 22 * len(names), margin=margin, showlegend=False, yaxis={"dtick": 1}
    )
