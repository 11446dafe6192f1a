"""What the search itself costs, with trials that take no time: overhead a trial, a proposal, memory, and workers.

    python benchmarks/scale.py --trials 10000                         # memory, trials a second
    python benchmarks/scale.py --trials 1000 --workers 2 4 8 16 32 64 # where it saturates
    python benchmarks/scale.py --proposals                            # without Ray: ask, ledger and tell, 10 to 10,000

The search is the real one, Ray Tune and both journals included; only the trials train nothing. Their processes are real
Ray actors that are used again; they import no torch, so that 64 of them fit into a small machine. None ends its first
trial before all have had the time to start: one that is free takes over the trials of those that are still starting.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import ray
import torch
from ray import tune
from rich.console import Console

import nas.searching
from nas.budget import parse_budget
from nas.cost.apart import measure_apart
from nas.cost.latency import describe
from nas.cost.table import CostTable, build_table
from nas.question import Question, create_run
from nas.run.ledger import Record
from nas.tune.proposer import Proposer
from search_spaces import load_space
from trainers.data import ImageData
from trainers.recipe import Recipe

MARKS = (10, 100, 1_000, 2_500, 5_000, 10_000)
START_S = 1.5  # of a worker's process, on two cores
AROUND = 100  # trials before a mark that its figures are taken over


class NoTime(tune.Trainable):
    """Ends at once, but not before ``all_there`` (a Unix time), with an accuracy made from its name."""

    all_there = 0.0

    def setup(self, config: dict[str, Any], **question: object) -> None:
        self.config = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(max(0.0, self.all_there - time.time()))
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


def question_of(space: str, sampler: str, trials: int, output: Path, name: str) -> Question:
    """A search below 2.5 GFLOPs on one core a trial."""
    return Question(
        space=load_space(space),
        budgets=(parse_budget("2.5GFLOPs"),),
        trials=trials,
        sampler=sampler,
        recipe=cast(Recipe, None),  # its module would bring torch into every worker
        output=output,
        name=name,
        references=False,
    )


def new_proposer(question: Question, table: CostTable) -> Proposer:
    return nas.searching.proposer_of(question, table, nas.searching.feasible_set(question, table))


def proposals(question: Question, table: CostTable) -> dict[str, Any]:
    """Milliseconds of proposing and of bookkeeping together, before each mark; then what ``--resume`` reads again."""
    proposer = new_proposer(question, table)
    spent, memory = [], {"0": resident()}
    for i in range(question.trials):
        start = time.perf_counter()
        config = proposer.suggest(str(i))
        assert isinstance(config, dict)
        proposer.on_trial_complete(str(i), result_of(config))
        spent.append((time.perf_counter() - start) * 1e3)
        if i + 1 in MARKS:
            memory[str(i + 1)] = resident()
    around = {m: statistics.median(spent[max(0, m - AROUND) : m]) for m in MARKS if m <= question.trials}
    found: dict[str, Any] = {"ms_a_trial_before": {str(m): round(v, 2) for m, v in around.items()}}
    if 10_000 in around:
        found["growth_from_100_to_10000"] = round(around[10_000] / around[100], 2)
    start = time.perf_counter()
    again = new_proposer(question, table)
    return {
        **found,
        "memory_after": memory,
        "resumed_s": round(time.perf_counter() - start, 1),
        "resumed_trials": again.asked,
    }


def with_ray(question: Question, table: CostTable, workers: int) -> dict[str, Any]:
    """Trials a second, all of the search included but the measurement of costs."""
    nas.searching.ProxyTrial = NoTime  # type: ignore[misc, assignment]
    os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_AIR_NEW_OUTPUT="0")
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    proposer = new_proposer(question, table)
    times: list[float] = []
    busy: list[float] = []
    memory = {"0": resident()}
    append = proposer.ledger.append

    def note(record: Record) -> None:
        append(record)
        times.append(time.perf_counter())
        busy.append(time.process_time())
        if len(times) in MARKS:
            memory[str(len(times))] = resident()

    NoTime.all_there = time.time() + START_S * (workers + 2)
    proposer.ledger.append = note  # type: ignore[method-assign]
    with Path(os.devnull).open("w") as nowhere:
        nas.searching.search(question, proposer, cast(ImageData, None), workers, Console(file=nowhere))
    memory["end"] = resident()
    ray.shutdown()
    about = {"workers": workers, "trials": len(times)}
    return {**about, **rates(times, busy, workers), "memory_after": memory}


def rates(times: Sequence[float], busy: Sequence[float], workers: int) -> dict[str, Any]:
    """Trials a second once every worker's process is there, and before each mark; the driver's own CPU time for one."""
    warm = min(2 * workers, len(times) // 2)
    whole = (len(times) - warm) / (times[-1] - times[warm - 1])
    cpu_ms = 1e3 * (busy[-1] - busy[warm - 1]) / (len(times) - warm)
    marks = [m for m in MARKS if warm + AROUND <= m <= len(times)]
    before = {str(m): round(AROUND / (times[m - 1] - times[m - 1 - AROUND]), 1) for m in marks}
    return {
        "trials_a_second": round(whole, 1),
        "driver_cpu_ms_a_trial": round(cpu_ms, 1),
        "trials_a_second_before": before,
    }


def resident() -> dict[str, int]:
    """The driver's memory in MiB: resident, what of that is its own (no shared library), and resident at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    names = {"resident_mib": "VmRSS", "own_mib": "RssAnon", "peak_mib": "VmHWM"}
    return {name: int(fields[field].split()[0]) // 1024 for name, field in names.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="*", default=[2])
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--space", default="spconv_layerwise")
    parser.add_argument("--proposals", action="store_true")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    device = torch.device("cpu")
    table = build_table(load_space(asked.space), device, Path("results/.cache"), print, measure_apart)
    found: Any = []
    with tempfile.TemporaryDirectory() as folder:
        for workers in [0] if asked.proposals else asked.workers:
            question = question_of(asked.space, asked.sampler, asked.trials, Path(folder), f"workers-{workers}")
            create_run(question.run)
            print(question.name, file=sys.stderr)
            found.append(with_ray(question, table, workers) if workers else proposals(question, table))
    about = {"sampler": asked.sampler, "space": asked.space, **describe(device), "cores": os.cpu_count()}
    text = json.dumps({**about, "found": found}, indent=1)
    print(text)
    if asked.output:
        asked.output.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
