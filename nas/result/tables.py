"""Tables for a terminal: they fit its width, or each row becomes lines of its own; no word is cut, no number lost."""

import textwrap
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..budget import Budget, broken
from ..metrics import METRICS, in_column
from ..record import Record
from .found import Found, noise_in
from .verdict import Verdict


def print_table(
    console: Console, title: str, headings: Sequence[str], sections: Sequence[Sequence[Sequence[str]]]
) -> None:
    """Rows of text below their headings, the first column to the left, numbers to the right.

    Where that is wider than the console, each row is printed as ``first: heading value, heading value, …``, broken
    between words only.
    """
    table = Table(title=Text(title), box=SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for i, heading in enumerate(headings):
        numbers = all(_is_number(row[i]) for rows in sections for row in rows)
        table.add_column(heading, no_wrap=True, justify="right" if i and numbers else "left")
    for rows in sections:
        for row in rows:
            table.add_row(*map(Text, row))
        table.add_section()
    if table.__rich_measure__(console, console.options).maximum <= console.width:
        console.print(table)
        return
    print_lines(console, title)
    for row in (row for rows in sections for row in rows):
        parts = ", ".join(f"{heading} {cell}" for heading, cell in zip(headings[1:], row[1:], strict=True) if cell)
        print_lines(console, f"{row[0]}: {parts}")


def print_lines(console: Console, text: str) -> None:
    """A sentence, broken between words; what is longer than a line (a path) stays whole."""
    wrapped = textwrap.wrap(
        text, max(20, console.width), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    for line in wrapped or [""]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_results(
    console: Console,
    budgets: Sequence[Budget],
    groups: tuple[Sequence[Record], Sequence[Record]],
    best: Record | None,
    found: Found,
) -> None:
    """``groups``: the front, and the vanilla network and the uniform settings beside it."""
    known = [name for name in METRICS if any(name in record.costs for group in groups for record in group)]
    costs = [METRICS[name].column[0] for name in known]
    top = None if best is None else best.key
    sections = [
        [_row("best" if record.key == top else record.name, record, budgets, (known, found)) for record in group]
        for group in groups
    ]
    headings = ["network", "accuracy", "by model", "test", *costs, "budget"]
    if not any(row[2] for rows in sections for row in rows):  # there is no model
        headings, sections = _without(2, headings), [[_without(2, row) for row in rows] for rows in sections]
    print_table(console, f"Pareto front: {len(groups[0])} candidates; below it the references", headings, sections)


def print_verdict(console: Console, verdict: Verdict) -> None:
    """The final stage: each network's mean, its standard error, and what it is over the most accurate one's."""
    rows = [
        [
            standing.name,
            _percent(standing.accuracy, verdict.error(standing)),
            f"{standing.test_accuracy:.1%}",
            in_column("flops", standing.flops),
            str(len(standing.trainings)),
        ]
        for standing in verdict.standings
    ]
    headings = ["network", "accuracy", "test", METRICS["flops"].column[0], "seeds"]
    print_table(console, "Final stage: trained from nothing, mean ± standard error", headings, [rows])
    print_lines(console, verdict.sentence())


def _row(name: str, record: Record, budgets: Sequence[Budget], of: tuple[Sequence[str], Found]) -> list[str]:
    """A cell for each cost that is known."""
    known, found = of
    whole, costs = found.measured.of(record), found.measured.costs(record)
    model = {} if found.pool is None else found.pool.predicted
    return [
        name,
        _percent(record.accuracy or 0.0, noise_in(found.pool)) if record.finished else str(record.status),
        _percent(*model[record.key]) if record.key in model else "",
        "" if record.test_accuracy is None else f"{record.test_accuracy:.1%}",
        *(in_column(m, costs[m]) + (f" ± {in_column(m, whole[m][1])}" if m in whole else "") for m in known),
        "over" if broken(budgets, found.measured.sure_costs(record)) else "yes",
    ]


def _without(column: int, row: Sequence[str]) -> list[str]:
    return [*row[:column], *row[column + 1 :]]


def _percent(value: float, error: float) -> str:
    """``84.0 ± 0.5%``."""
    return f"{100 * value:.1f} ± {100 * error:.1f}%" if error else f"{value:.1%}"


def _is_number(cell: str) -> bool:
    return not cell or cell[0].isdigit()
