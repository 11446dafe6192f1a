"""``python -m nas.report RUN [RUN …]``: (re)draws the report of a run, finished or not, or compares several."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from search_spaces.checks import BadInput, expanded
from search_spaces.late import Late
from search_spaces.one_line import BAD_INPUT, Parser

from ..run import Run

_write_report = Late("nas.report.writing", "write_report")
_write_comparison = Late("nas.report.writing", "write_comparison")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    made = Parser("python -m nas.report", description="Draws the report of a run, going on or not; compares several.")
    made.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, such as results/NAME")
    made.add_argument("--output", type=Path, metavar="FILE", help="of a comparison (default: compared.html)")
    asked = made.parse_args(arguments)
    try:
        runs = [Run.read(folder) for folder in asked.runs]
        if len(runs) == 1:
            if asked.output is not None:
                raise BadInput("--output goes with several runs: the report of one stands in its folder")
            path = _write_report(runs[0])
        else:
            path = expanded(asked.output or Path("compared.html"))
            _write_comparison(runs, path)
    except (BadInput, OSError) as error:
        said = str(error) if isinstance(error, BadInput) else f"{error.filename} can't be written: {error.strerror}"
        Console(stderr=True, soft_wrap=True).print(f"{made.prog}: {said}", highlight=False, markup=False)
        return BAD_INPUT
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
