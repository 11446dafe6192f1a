"""Tables at every width: no word is cut, no number is lost."""

import io

import pytest
from rich.console import Console

from nas.record import Record
from nas.result.found import Found
from nas.result.measured import Measured
from nas.result.tables import print_lines, print_results, print_table
from trainers.report import Status

HEADINGS = ["network", "accuracy", "GFLOPs", "within budget"]
ROWS = [["SPConv α=1/2 g=2", "84.0%", "2.497", "yes"], ["a[bold]name", "7.1%", "12.345", "no: latency_ms"]]


def shown(width: int, print_it) -> str:
    console = Console(width=width, file=io.StringIO())
    print_it(console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [20, 30, 40, 50, 60, 80, 120, 200])
def test_every_cell_is_whole_at_every_width(width: int) -> None:
    text = shown(width, lambda console: print_table(console, "A title of some words", HEADINGS, [ROWS[:1], ROWS[1:]]))
    words = set(" ".join([*HEADINGS[1:], *(cell for row in ROWS for cell in row), "A title of some words"]).split())
    assert words <= {word.strip(",:") for word in text.split()} | set(text.split())
    assert max(map(len, text.splitlines())) <= max(width, 20)


def test_the_table_of_a_search_fits_eighty_columns() -> None:
    """With the longest names and figures that searches have had, every measurement with its spread."""
    costs = {"flops": 4_089_184_256, "params": 25_557_032, "latency_ms": 164.79}
    ended = {"status": Status.FINISHED, "accuracy": 1.0, "test_accuracy": 0.987}
    records = [
        Record(name=name, key=name, architecture={}, costs=costs, seed=0, **ended)
        for name in ("SPConv α=1/2 g=2", "CompConv C0=512", "0123")
    ]
    measured = Measured({r.key: {"latency_ms": (160.98, 3.1)} for r in records}, {})
    text = shown(
        80, lambda console: print_results(console, [], (records[:2], records[2:]), records[0], Found(measured))
    )
    for part in ("network", "100.0%", "98.7%", "4.089", "25.56", "160.98 ± 3.10", "CompConv C0=512", "best"):
        assert part in text
    assert text.splitlines()[2].split() == ["network", "accuracy", "test", "GFLOPs", "MParams", "ms", "budget"]


def test_lines_break_between_words_and_paths_stay_whole() -> None:
    path = "/a/very/long/path/" + "x" * 60
    text = shown(40, lambda console: print_lines(console, f"best: {path}; the front: {path}"))
    assert text.count(path) == 2
