"""How long the report of a run takes, over the number of its trials.

    python benchmarks/report.py

Runs of ``spconv_layerwise`` are made up: random architectures within 2.5 GFLOPs, accuracies that follow from their
FLOPs and noise. Each is read, drawn and written a few times; what is told is the least time and the most.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import judging
import numpy as np

from nas.cost.table import CostTable, build_table, table_to_document
from nas.form import parse_form
from nas.preparation import feasible_set
from nas.question import asked
from nas.record import Record
from nas.report.writing import write_report
from nas.run import Run
from nas.run.ledger import Ledger
from search_spaces import Space, load_space
from trainers.report import Status

SPACE, BUDGET = "spconv_layerwise", "2.5GFLOPs"


def made_up(folder: Path, count: int, space: Space, table: CostTable) -> Run:
    """A run with so many trials that have ended."""
    question = asked({"space": SPACE, "budget": BUDGET, "trials": max(1, count), "output": folder, "name": str(count)})
    about = {"backbone": space.backbone.to_dict(), "data": {"classes": 10}}
    state = {"space": space.document, "costs": table_to_document(table)}
    feasible, generator = feasible_set(space, table, question), np.random.default_rng(0)
    with Run.create(question, about, state) as run:
        ledger, taken = Ledger.open(run.ledger_file), set[tuple[int, ...]]()
        for i in range(count):
            row = feasible.draw(feasible.uniform, generator, taken)
            taken.add(row)
            architecture = space.architecture(row)
            costs = table.total(architecture)
            accuracy = float(0.8 + (costs["flops"] - 2.5e9) / 1e9 + 0.02 * generator.standard_normal())
            ledger.append(
                Record(
                    name=f"{i + 1:04d}",
                    key=architecture.key,
                    architecture=architecture.to_dict(),
                    costs=costs,
                    seed=0,
                    status=Status.FINISHED,
                    accuracy=accuracy,
                    test_accuracy=accuracy,
                    accuracy_by_epoch=tuple(accuracy * e / 20 for e in range(1, 21)),
                    loss_by_epoch=(1.0,) * 20,
                    started=1e9 + 40 * i,
                    ended=1e9 + 40 * i + 80,
                    train_s=75.0,
                    cpu_s=70.0,
                    device="cpu, 1 thread(s)",
                )
            )
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[0, 10, 200, 2000])
    parser.add_argument("--times", type=int, default=5)
    asked_for = parser.parse_args()
    space = load_space(SPACE)
    table = build_table(space, parse_form("cpu"), Path("results/.cache"))
    with tempfile.TemporaryDirectory() as folder:
        for count in asked_for.trials:
            run, seconds = made_up(Path(folder), count, space, table), []
            for _ in range(asked_for.times):
                start = time.perf_counter()
                path = write_report(run)
                seconds.append(time.perf_counter() - start)
            line = {"trials": count, "first_s": round(seconds[0], 2), "least_s": round(min(seconds), 2)}
            line |= {"most_s": round(max(seconds), 2), "MB": round(path.stat().st_size / 1e6, 1)}
            print(json.dumps(line), flush=True)
    print(json.dumps(judging.device()))


if __name__ == "__main__":
    main()
