"""How long a proposal takes at 100 trials, and the summing of 10,000 architectures' costs.

    python benchmarks/sampler_speed.py [--space spconv_layerwise] [--budget 2.5GFLOPs]

The accuracies are made up here, from the FLOPs; costs, space and samplers are the real ones.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import optuna
import torch

from nas.budget import parse_budget
from nas.cost.latency import describe
from nas.cost.table import build_table
from nas.feasible import Feasible, Limit
from nas.metrics import directions
from nas.samplers import SAMPLERS, encoding
from nas.samplers.within_budget import WithinBudget
from search_spaces import load_space

TRIALS = 110


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="spconv_layerwise")
    parser.add_argument("--budget", action="append")
    parser.add_argument("--cache", type=Path, default=Path("results/.cache"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    device, space = torch.device("cpu"), load_space(arguments.space)
    table = build_table(space, device, arguments.cache)
    budgets = [parse_budget(text) for text in arguments.budget or ["2.5GFLOPs"]]
    limits = [Limit(table.options(space, b.metric), b.limit - table.rest[b.metric]) for b in budgets]
    feasible = Feasible([len(v.options) for v in space.variables], limits)
    figures: dict[str, object] = {"space": space.name, "budget": [b.text for b in budgets], **describe(device)}
    for name, make in SAMPLERS.items():
        sampler = WithinBudget(lambda seed, make=make: make(seed, TRIALS), space, feasible, 0)
        study = optuna.create_study(directions=directions(), sampler=sampler)
        seconds = []
        for _ in range(TRIALS):
            start = time.perf_counter()
            trial = study.ask(sampler.distributions)
            seconds.append(time.perf_counter() - start)
            costs = table.total(space.architecture(encoding.indices(space, trial.params)))
            study.tell(trial, [costs["flops"] ** 0.5, costs["flops"], costs["latency_ms"]])
        last = [s * 1e3 for s in seconds[-20:]]
        figures[f"{name}_ms_at_100_trials"] = {"median": round(statistics.median(last), 2), "max": round(max(last), 2)}
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(len(v.options), size=10_000) for v in space.variables], axis=1)
    start = time.perf_counter()
    table.totals(space, "flops", rows)
    figures["sum_10000_architectures_ms"] = round((time.perf_counter() - start) * 1e3, 2)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
