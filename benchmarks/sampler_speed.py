"""How long a proposal takes after 100, 1,000 and 10,000 trials, and the summing of 10,000 architectures' costs.

    python benchmarks/sampler_speed.py [--space spconv_layerwise] [--budget 2.5GFLOPs] [--trials 100 1000 10000]

The accuracies are made up here, from the FLOPs; costs, space and samplers are the real ones, and so is what a run
remembers for a sampler. ``first`` is the first proposal of a process that goes on after so many trials: it reads them.
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

from nas.cost.device import describe
from nas.cost.table import build_table
from nas.form import parse_form
from nas.preparation import feasible_set
from nas.question import asked
from nas.record import Record
from nas.samplers import LEARN_FROM_ALL, SAMPLERS, encoding
from nas.samplers.memory import WINDOW, Memory
from nas.samplers.problem import Problem, problem
from nas.samplers.within_budget import WithinBudget
from search_spaces import load_space
from trainers.report import Status

ASKED = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="spconv_layerwise")
    parser.add_argument("--budget", default="2.5GFLOPs")
    parser.add_argument("--trials", nargs="+", type=int, default=[100, 1000, 10_000])
    parser.add_argument("--sampler", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--cache", type=Path, default=Path("results/.cache"))
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    device, space = parse_form("cpu"), load_space(wanted.space)
    table = build_table(space, device, wanted.cache)
    feasible = feasible_set(space, table, asked({"space": wanted.space, "budget": wanted.budget}))
    searched = problem(space, table, feasible, 100)
    options = sum(len(v.options) for v in space.variables)
    figures: dict[str, object] = {"space": space.name, "variables": len(space.variables), "options": options}
    figures |= {"budget": wanted.budget, **describe(device)}
    for name in wanted.sampler:
        for trials in wanted.trials:
            figures[f"{name}_ms_after_{trials}_trials"] = proposals(searched, name, trials)
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(len(v.options), size=10_000) for v in space.variables], axis=1)
    start = time.perf_counter()
    table.totals(space, "flops", rows)
    figures["sum_10000_architectures_ms"] = round((time.perf_counter() - start) * 1e3, 2)
    print(json.dumps(figures, indent=1))


def proposals(searched: Problem, name: str, trials: int) -> dict[str, float]:
    """Of a sampler that recalls ``trials`` random architectures, as a run that is gone on with does."""
    memory = Memory(WithinBudget(SAMPLERS[name], searched, 0), None if name in LEARN_FROM_ALL else WINDOW)
    rng = np.random.default_rng(0)
    for i in range(trials):
        row = searched.feasible.draw(searched.feasible.uniform, rng)
        params = encoding.params(searched.space, row, {})
        memory.sampler.taken.add(row)
        memory.recall({"name": f"{i:05}", "params": params}, _record(searched, f"{i:05}", row))
    seconds = []
    for _ in range(ASKED):
        start = time.perf_counter()
        entry = memory.ask()
        seconds.append(time.perf_counter() - start)
        memory.tell(_record(searched, entry["name"], encoding.indices(searched.space, entry["params"])), [])
    later = [1e3 * s for s in seconds[1:]]
    return {
        "first": round(1e3 * seconds[0], 1),
        "median": round(statistics.median(later), 1),
        "max": round(max(later), 1),
    }


def _record(searched: Problem, name: str, row: tuple[int, ...]) -> Record:
    costs = {m: sum(float(c[i]) for c, i in zip(own, row, strict=True)) for m, own in searched.costs.items()}
    accuracy = (costs["flops"] / 5e9) ** 0.5
    return Record(name=name, key=name, seed=0, status=Status.FINISHED, accuracy=accuracy, architecture={}, costs=costs)


if __name__ == "__main__":
    main()
