"""Costs that are there before a search: a hurry's, as tests measure, are in doubt, and no search keeps such ones."""

import functools
import json
from dataclasses import replace
from pathlib import Path

from nas.cost.table import CostTable, build_table, cached_file, table_to_document
from nas.form import parse_form
from search_spaces import Space, load_space

CPU = parse_form("cpu")
SURE = {"slope": 1.0, "error": 0.02, "doubt": ""}


@functools.cache
def sure_table(space: Space) -> CostTable:
    """Its costs, as if an idle machine had measured them."""
    table = build_table(space, CPU)
    return replace(table, predictions={name: replace(found, **SURE) for name, found in table.predictions.items()})


def measured_beforehand(output: Path, name: str) -> Path:
    """``output``, where a search of that space on a CPU finds its costs."""
    space = load_space(name)
    file = cached_file(output / ".cache", space, CPU)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(table_to_document(sure_table(space))), encoding="utf-8")
    return output
