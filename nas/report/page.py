"""Puts sections together to one HTML page that needs nothing else."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import jinja2
from plotly.offline import get_plotlyjs

from .style import Figure

TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class Part:
    """A figure, a table, a command or a paragraph: one of them, with its title and what it says.

    Args:
        closed: the words to open a table by that is closed at first.
        least_px: a figure's width, where less could not be read: on a phone it is scrolled.
    """

    title: str = ""
    text: str = ""
    figure: Figure | None = None
    headings: Sequence[str] = ()
    cells: Sequence[Sequence[str]] = ()
    code: str = ""
    closed: str = ""
    id: str = ""
    least_px: int = 0

    @property
    def numbers(self) -> set[int]:
        """The columns that hold nothing but numbers."""
        columns = range(1, len(self.headings))
        return {
            i for i in columns if self.cells and all(not row[i] or row[i][0] in "0123456789+-−" for row in self.cells)
        }


@dataclass(frozen=True)
class Section:
    """``rows`` of parts that stand side by side where there is room."""

    id: str
    title: str
    text: str = ""
    rows: Sequence[Sequence[Part]] = field(default_factory=list)


def page(title: str, subtitle: str, answer: str, sections: Sequence[Section], footer: str) -> str:
    """The whole page."""
    figures: dict[str, Figure] = {}
    numbered = []
    for section in sections:
        rows = []
        for row in section.rows:
            parts = []
            for part in row:
                if part.figure is not None:
                    name = f"figure-{len(figures) + 1}"
                    figures[name] = part.figure
                    part = replace(part, id=name)
                parts.append(part)
            rows.append(parts)
        numbered.append(Section(section.id, section.title, section.text, rows))
    return _template().render(
        title=title,
        subtitle=subtitle,
        answer=answer,
        sections=numbered,
        footer=footer,
        plotly=get_plotlyjs(),
        figures=json.dumps(figures, allow_nan=False).replace("</", "<\\/"),
    )


@cache
def _template() -> jinja2.Template:
    """Names and reasons are text, whatever is in them."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True).get_template(TEMPLATE)
