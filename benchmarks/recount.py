"""Recount every architecture of a run with fvcore and compare with the ledger and the budgets, to the unit.

    python benchmarks/recount.py results/RUN

Exit status 1 if one differs or is above a FLOPs or params budget.
"""

import sys
from pathlib import Path

from nas.budget import broken, within
from nas.cost.flops import count_flops, count_params
from nas.run import Run


def main(run: Path) -> int:
    read = Run.read(run)
    budgets = [b for b in read.question.budget if b.metric in ("flops", "params")]
    records = read.candidates
    wrong = 0
    for record in records:
        architecture = record.built_architecture()
        network, shape = architecture.inference(), architecture.backbone.shape
        costs = {"flops": count_flops(network, (1, *shape)), "params": count_params(network)}
        ok = all(record.costs[name] == cost for name, cost in costs.items()) and not broken(budgets, costs)
        wrong += not ok
        print(f"{record.name} {record.key}: {costs['flops']} FLOPs, {costs['params']} params: {'ok' if ok else record}")
    distinct = len({record.key for record in records})
    print(f"{len(records)} architectures, {distinct} distinct, {wrong} wrong; budgets: {within(read.question.budget)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
