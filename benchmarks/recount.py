"""Recount every architecture of a run with fvcore and compare with the ledger and the budgets, to the unit.

    python benchmarks/recount.py results/RUN

Exit status 1 if one differs or is above a FLOPs or params budget.
"""

import sys
from pathlib import Path

import yaml

from nas.budget import broken, parse_budget
from nas.cost.flops import count_flops, count_params
from nas.run.ledger import read_ledger


def main(run: Path) -> int:
    asked = yaml.safe_load((run / "search.yaml").read_text())
    budgets = tuple(b for b in map(parse_budget, asked["budget"]) if b.metric != "latency_ms")
    size = asked["backbone"]["resolution"]
    records = read_ledger(run / "trials.jsonl")
    wrong = 0
    for record in records:
        network = record.built_architecture().build()
        costs = {"flops": count_flops(network, (1, 3, size, size)), "params": count_params(network)}
        ok = costs == {"flops": record.flops, "params": record.params} and not broken(budgets, costs)
        wrong += not ok
        print(f"{record.name} {record.key}: {costs['flops']} FLOPs, {costs['params']} params: {'ok' if ok else record}")
    distinct = len({record.key for record in records})
    print(f"{len(records)} architectures, {distinct} distinct, {wrong} wrong; budgets: {', '.join(asked['budget'])}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
