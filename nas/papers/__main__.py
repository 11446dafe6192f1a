"""``python -m nas.papers``: the table, as text or JSON, and a row as an architecture YAML."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from search_spaces.checks import BadInput, require_known
from trainers.full.recipe import FULL_RECIPES

from ..run.files import write_yaml
from ..run.provenance import provenance
from .row import Comparison, Row, compare
from .rows import all_rows, load_notes

DESCRIPTION = """Every published row of SPConv (Tables 1 to 4) and CompConv (Tables 1 to 9), and ours beside it.

Params and FLOPs are measured with fvcore on the network as built. SPConv's rows are counted in training mode
(BatchNorm 5 an element), CompConv's in eval mode (2): so they fit what is printed. Rows without ours are context.
"""
PARTS = {"whole": "the network", "body": "the network without its classifier", "detector": "the detector on it"}
BAD_INPUT = 2
WIDTH = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m nas.papers", description=DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="for programs: a list of rows")
    parser.add_argument("--export", metavar="ID", help="write this row as an architecture YAML with the paper's recipe")
    parser.add_argument("--output", type=Path, default=Path("results/papers"), help="folder for --export (%(default)s)")
    asked = parser.parse_args(arguments)
    rows = all_rows()
    if asked.export is not None:
        return _export(rows, asked.export, asked.output)
    if asked.json:
        print(json.dumps([_entry(row) for row in rows], indent=1, ensure_ascii=False))
    else:
        _print(rows)
    return 0


def measured(row: Row) -> tuple[int, int, Comparison | None, Comparison | None]:
    """Our params and FLOPs of a row with a network, and how they compare."""
    assert row.network is not None
    params, flops = row.network.measure()
    return params, flops, compare(row.params, params), compare(row.flops, flops)


def _entry(row: Row) -> dict[str, Any]:
    """One row for programs."""
    entry: dict[str, Any] = {
        "id": row.id,
        "source": row.source,
        "model": row.model,
        "context": row.network is None,
        "printed": {"params": row.params, "flops": row.flops, "accuracy": row.accuracy},
        "note": load_notes().get(row.note, ""),
    }
    if row.network is not None:
        params, flops, *comparisons = measured(row)
        entry["measured"] = {"params": params, "flops": flops}
        entry["deviation"] = {
            name: None if c is None else round(c.deviation, 5)
            for name, c in zip(("params", "flops"), comparisons, strict=True)
        }
        entry["agrees"] = all(c is None or c.agrees(row.tolerance) for c in comparisons)
    return entry


def _print(rows: Sequence[Row]) -> None:
    console = Console(width=max(WIDTH, Console().width))  # narrower, columns would be cut
    title = "Printed and measured; a star: deviates by more than the row's tolerance and the printed rounding"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("id", "model"):
        table.add_column(heading, no_wrap=True)
    for heading in ("params", "ours", "", "FLOPs", "ours", "", "acc. %", "note"):
        table.add_column(heading, justify="right", no_wrap=True)
    notes: dict[str, int] = {}
    texts = load_notes()
    source = rows[0].source
    with console.status("measuring") as status:
        for row in rows:
            status.update(f"measuring {row.id}")
            if row.source != source:
                table.add_section()
                source = row.source
            mark = str(notes.setdefault(row.note, len(notes) + 1)) if row.note else ""
            table.add_row(row.id, row.model, *_cells(row), row.accuracy or "", mark)
    console.print(table)
    for note, number in notes.items():
        console.print(f"{number}. {texts[note]}", highlight=False)


def _cells(row: Row) -> list[str]:
    """Printed, ours, deviation: of the params, then of the FLOPs."""
    if row.network is None:
        return [row.params or "", "context", "", row.flops or "", "", ""]
    params, flops, of_params, of_flops = measured(row)
    cells = []
    for printed, ours, comparison in ((row.params, params, of_params), (row.flops, flops, of_flops)):
        unit = printed[-1] if printed else ("G" if ours >= 1e9 else "M")
        in_unit = f"{ours / {'M': 1e6, 'G': 1e9}[unit]:.4g}{unit}"
        deviation = "" if comparison is None else f"{comparison.deviation:+.1%}"
        off = comparison is not None and not comparison.agrees(row.tolerance)
        cells += [printed or "", in_unit, f"{deviation}{'*' if off else ' '}"]
    return cells


def _export(rows: Sequence[Row], wanted: str, folder: Path) -> int:
    """Write ``folder/ID.yaml``: the format that a search exports."""
    try:
        require_known("row", wanted, [row.id for row in rows if row.network is not None])
    except BadInput as error:
        print(f"python -m nas.papers: {error}", file=sys.stderr)
        return BAD_INPUT
    row = next(row for row in rows if row.id == wanted)
    path = folder / f"{row.id}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_yaml(path, document_of(row))
    except OSError as error:
        print(f"python -m nas.papers: can't write {path}: {error.strerror}", file=sys.stderr)
        return BAD_INPUT
    print(path)
    return 0


def document_of(row: Row) -> dict[str, Any]:
    """The architecture YAML of a row, with the paper's own recipe and what it printed."""
    assert row.network is not None
    params, flops, *_ = measured(row)
    return {
        "space": None,
        **row.network.deployed.to_dict(),
        "metrics": {
            "flops": flops,
            "params": params,
            "printed": {"flops": row.flops, "params": row.params, "accuracy": row.accuracy},
            "measured": {
                "flops": f"multiply-adds, fvcore, {'training' if row.network.train_mode else 'eval'} mode, one image",
                "params": "as trained, BatchNorm included",
                "of": PARTS[row.network.part],
            },
        },
        "budget": [],
        "training": asdict(FULL_RECIPES[row.recipe]),
        "provenance": {
            "row": row.id,
            "source": row.source,
            "note": load_notes().get(row.note, ""),
            **provenance(torch.device("cpu")),
        },
    }


if __name__ == "__main__":
    sys.exit(main())
