"""All trainings of a run as a table that any tool reads."""

import csv
import io

from ..metrics import METRICS
from .facts import Facts

PLAIN = ("name", "key", "status", "seed", "accuracy", "test_accuracy", "cross_entropy", "initial_accuracy", "epoch")
TIMES = ("started", "ended", "train_s", "cpu_s", "node", "device", "micro_batches", "reason")


def table_csv(facts: Facts) -> str:
    """A line each: the stage, scores, costs, times, and the choice at every slot (empty: vanilla)."""
    rows = facts.trainings
    slots = list(dict.fromkeys(slot for _, record in rows for slot in record.architecture["layers"]))
    costs = [name for name in METRICS if any(name in record.costs for _, record in rows)]
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(["stage", *PLAIN, "accuracy_by_model", "error_by_model", *costs, *TIMES, *slots])
    for stage, record in rows:
        model = facts.by_model(record) or ("", "")
        layers = record.architecture["layers"]
        table.writerow(
            [
                stage,
                *(_cell(getattr(record, name)) for name in PLAIN),
                *model,
                *(_cell(record.costs.get(name)) for name in costs),
                *(_cell(getattr(record, name)) for name in TIMES),
                *(_choice(layers.get(slot)) for slot in slots),
            ]
        )
    return written.getvalue()


def _cell(value: object) -> object:
    return "" if value is None else value


def _choice(entry: dict[str, object] | None) -> str:
    """``spconv alpha=1/4 groups=2``."""
    return "" if entry is None else " ".join(v if k == "operator" else f"{k}={v}" for k, v in entry.items())  # type: ignore[misc]
