"""What the search itself costs, with trials that take no time: overhead a trial, a proposal, memory, and workers.

    python benchmarks/scale.py --trials 10000 --workers 2 --output FILE
    python benchmarks/scale.py --proposals            # without Ray: ask, ledger and tell alone, 10 to 10,000

A trial's process is a real Ray actor that is reused; it imports no torch, so that 64 of them fit into a small machine.
"""

import argparse
import json
import logging
import os
import resource
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import ray
import torch
from ray import tune

from nas.cost.table import CostTable, build_table
from nas.feasible import Feasible, Limit
from nas.front import DIRECTIONS
from nas.ledger import Ledger
from nas.proposer import Proposer
from nas.samplers import SAMPLERS, WithinBudget
from search_spaces import Space, load_space

MARKS = (10, 100, 1_000, 10_000)


class NoTime(tune.Trainable):
    """Ends at once, with an accuracy made from its name."""

    def setup(self, config: dict[str, Any]) -> None:
        self.config = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        return True

    def step(self) -> dict[str, Any]:
        return {**result_of(self.config), "done": True}


def result_of(config: dict[str, Any]) -> dict[str, Any]:
    """As much as a real trial of eight epochs reports."""
    accuracy = int(config["key"], 16) % 10_000 / 10_000
    now = time.time()
    return {
        "accuracy": accuracy,
        "test_accuracy": accuracy,
        "epoch": 8,
        "accuracy_by_epoch": [accuracy] * 8,
        "loss_by_epoch": [1.0] * 8,
        "started": now,
        "ended": now,
        "train_s": 0.0,
        "starts": [now],
        "substituted": [],
        "node": "here",
        "device": "none",
    }


def proposer(space: Space, table: CostTable, sampler: str, trials: int, folder: Path) -> Proposer:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    limit = Limit(table.options(space, "flops"), 2.5e9 - table.rest["flops"])
    feasible = Feasible([len(v.options) for v in space.variables], [limit])
    inner = WithinBudget(partial(SAMPLERS[sampler], trials=trials), space, feasible, 0)
    study = optuna.create_study(directions=list(DIRECTIONS), sampler=inner)
    folder.mkdir(parents=True, exist_ok=True)
    ledgers = Ledger(folder / "trials.jsonl"), Ledger(folder / "references.jsonl")
    return Proposer(space, table, study, trials, ledgers[0], {}, ledgers[1], folder / "proposals.jsonl", 0)


def proposals(space: Space, table: CostTable, sampler: str, folder: Path, trials: int) -> dict[str, Any]:
    """Milliseconds of suggest and of on_trial_complete, around each mark."""
    p = proposer(space, table, sampler, trials, folder)
    spent = []
    for i in range(trials):
        start = time.perf_counter()
        config = p.suggest(str(i))
        assert isinstance(config, dict)
        p.on_trial_complete(str(i), result_of(config))
        spent.append((time.perf_counter() - start) * 1e3)
    around = {m: statistics.median(spent[max(0, m - 50) : m]) for m in MARKS if m <= trials}
    found = {"ms_a_trial_around": {str(m): round(v, 2) for m, v in around.items()}, "memory_mib": memory()}
    if trials >= 10_000:
        found["growth_from_100_to_10000"] = round(around[10_000] / around[100], 2)
    start = time.perf_counter()
    again = proposer_from(space, table, sampler, trials, folder)
    return {**found, "rebuilt_s": round(time.perf_counter() - start, 1), "rebuilt_trials": again.asked}


def proposer_from(space: Space, table: CostTable, sampler: str, trials: int, folder: Path) -> Proposer:
    """As ``--resume`` makes it."""
    p = proposer(space, table, sampler, trials, folder / "empty")
    ledger = Ledger.open(folder / "trials.jsonl")
    return Proposer(space, table, p.study, trials, ledger, {}, p.reference_ledger, folder / "proposals.jsonl", 0)


def with_ray(space: Space, table: CostTable, sampler: str, folder: Path, trials: int, workers: int) -> dict[str, Any]:
    """Trials a second, all of the search included."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000000")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    p = proposer(space, table, sampler, trials, folder)
    times: list[float] = []
    noted = p._record

    def note(*arguments: Any) -> None:
        noted(*arguments)
        times.append(time.perf_counter())

    p._record = note  # type: ignore[method-assign]
    tune.Tuner(
        tune.with_resources(NoTime, {"cpu": 1}),
        tune_config=tune.TuneConfig(search_alg=p, num_samples=trials, max_concurrent_trials=workers, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    ).fit()
    ray.shutdown()
    warm = min(2 * workers, trials // 2)  # until every worker's process is there
    rate = (len(times) - warm) / (times[-1] - times[warm - 1])
    by_part = {str(m): round(100 / (times[m - 1] - times[m - 101]), 1) for m in MARKS if 200 <= m <= len(times)}
    return {
        "trials": len(times),
        "workers": workers,
        "trials_a_second": round(rate, 1),
        "trials_a_second_before": by_part,
        "memory_mib": memory(),
    }


def memory() -> int:
    """The driver's peak, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="*", default=[2])
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--space", default="spconv_layerwise")
    parser.add_argument("--proposals", action="store_true")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    space = load_space(asked.space)
    with tempfile.TemporaryDirectory() as folder:
        table = build_table(space, torch.device("cpu"), Path("results/.cache"))
        if asked.proposals:
            found: Any = proposals(space, table, asked.sampler, Path(folder), asked.trials)
        else:
            found = [
                with_ray(space, table, asked.sampler, Path(folder, str(w)), asked.trials, w) for w in asked.workers
            ]
    text = json.dumps(
        {"sampler": asked.sampler, "space": asked.space, "cores": os.cpu_count(), "found": found}, indent=1
    )
    print(text)
    if asked.output:
        asked.output.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
