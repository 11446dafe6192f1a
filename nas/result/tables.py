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
from .measured import Measured


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
    measured: Measured,
) -> None:
    """``groups``: the front, and the vanilla network and the papers' settings beside it."""
    known = [name for name in METRICS if any(name in record.costs for group in groups for record in group)]
    costs = [METRICS[name].column[0] for name in known]
    sections = [
        [_row("best" if record is best else record.name, record, budgets, (known, measured)) for record in group]
        for group in groups
    ]
    headings = ["network", "accuracy", "test", *costs, "budget"]
    print_table(console, f"Pareto front: {len(groups[0])} candidates; below it the references", headings, sections)


def _row(name: str, record: Record, budgets: Sequence[Budget], of: tuple[Sequence[str], Measured]) -> list[str]:
    """A cell for each cost that is known."""
    known, measured = of
    whole, costs = measured.of(record), measured.costs(record)
    return [
        name,
        f"{record.accuracy:.1%}" if record.finished else str(record.status),
        "" if record.test_accuracy is None else f"{record.test_accuracy:.1%}",
        *(in_column(m, costs[m]) + (f" ± {in_column(m, whole[m][1] / 2)}" if m in whole else "") for m in known),
        "over" if broken(budgets, costs) else "yes",
    ]


def _is_number(cell: str) -> bool:
    return not cell or cell[0].isdigit()
