"""How all figures look: colours that the colour-blind can tell apart, and marks that differ in shape as well.

Figures are plotly's, in plain values: ``{"data": traces, "layout": …}``. The page sets what depends on light or dark.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..metrics import METRICS, in_column
from ..record import Record
from .facts import Facts

Figure = dict[str, Any]
Trace = dict[str, Any]

# Okabe and Ito, *Color Universal Design* (2008)
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442"),
    "#999999",
)
OF_OPERATOR = {
    **{"vanilla": GREY, "spconv": BLUE, "compconv": ORANGE, "ghost": GREEN, "hetconv": RED, "octconv": PURPLE},
    **{"selective_kernel": SKY, "grouped": YELLOW, "grouped_shuffle": YELLOW},
}
RUNS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x")
DIVERGING = [[0.0, RED], [0.5, "#f7f7f7"], [1.0, BLUE]]
RISING = [[0.0, "#f7fbff"], [1.0, "#08519c"]]
HEIGHT = 440
SYMBOL_OF = {"alpha": "α", "groups": "g", "depth": "d"}


def figure(traces: Sequence[Trace], x: str, y: str, height: int = HEIGHT, **layout: Any) -> Figure:
    """With titles of its axes; the legend below it."""
    return {
        "data": list(traces),
        "layout": {
            "xaxis": {"title": {"text": x}, "automargin": True, **layout.pop("xaxis", {})},
            "yaxis": {"title": {"text": y}, "automargin": True, **layout.pop("yaxis", {})},
            "height": height,
            "margin": {"l": 60, "r": 20, "t": 30, "b": 90, **layout.pop("margin", {})},
            "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
            "hovermode": "closest",
            "font": {"size": 13},
            **layout,
        },
    }


def short(choice: str) -> str:
    """``spconv(alpha=1/4, groups=2)`` → ``spconv α=1/4 g=2``, as the papers write them."""
    operator, bracket, rest = choice.partition("(")
    if not bracket:
        return choice
    for long, symbol in SYMBOL_OF.items():
        rest = rest.replace(f"{long}=", f"{symbol}=")
    return f"{operator} {rest.removesuffix(')').replace(', ', ' ')}"


def called(name: str) -> str:
    """A record's name, shorter where it is a uniform setting of the space."""
    return short(name.removeprefix("uniform ")) if name.startswith("uniform ") else name


def operator_of(choice: str) -> str:
    """Of a choice in words."""
    return choice.split("(")[0]


def colour_of(choice: str) -> str:
    """Of a choice in words: its operator's."""
    return OF_OPERATOR.get(operator_of(choice), PURPLE)


def percent(records: Iterable[Record]) -> list[float]:
    """Scores."""
    return [round(100 * (r.accuracy or 0), 3) for r in records]


def costs(records: Iterable[Record], metric: str) -> list[float]:
    """In the unit of the metric's column."""
    scale = METRICS[metric].column[1]
    return [r.costs[metric] / scale for r in records]


def heading(metric: str) -> str:
    """``GFLOPs``; its axis."""
    return METRICS[metric].column[0]


def told(facts: Facts, record: Record) -> str:
    """A record in some lines, for who points at it."""
    lines = [f"<b>{escaped(record.name)}</b>", f"score {100 * (record.accuracy or 0):.2f}%"]
    if (model := facts.by_model(record)) is not None:
        lines.append(f"by the model {100 * model[0]:.2f} ± {100 * model[1]:.2f}%")
    lines += [f"{in_column(name, value)} {heading(name)}" for name, value in record.costs.items() if name in METRICS]
    return "<br>".join(lines)


def escaped(text: str) -> str:
    """As plotly's labels want it: they read some HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def wrapped(text: str, width: int = 28) -> str:
    """Over several lines of a label."""
    return "<br>".join(textwrap.wrap(escaped(text), width)) or " "


def bars(values: Sequence[float] | float, colour: str) -> Mapping[str, Any]:
    """Error bars, the same for all, or one for each."""
    alike = {"type": "constant", "value": values} if isinstance(values, float) else {"type": "data", "array": [*values]}
    return {**alike, "visible": True, "color": colour, "thickness": 1, "width": 3}
