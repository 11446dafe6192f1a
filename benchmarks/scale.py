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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from nas.candidates import Candidates
from nas.cost.apart import measure_apart
from nas.cost.device import describe
from nas.cost.table import CostTable, build_table, table_to_document
from nas.form import parse_form
from nas.preparation import feasible_set
from nas.question import asked
from nas.record import Record
from nas.run import Run
from nas.tune.conductor import Conductor
from nas.tune.tuner import Work, run_trials
from nas.watch.watch import Watch
from search_spaces import Space, load_space
from trainers.report import Report, Status

MARKS = (10, 100, 1_000, 2_500, 5_000, 10_000)
START_S = 1.5  # of a worker's process, on two cores
AROUND = 100  # trials before a mark that its figures are taken over


@dataclass(frozen=True)
class NoTime:
    """A judge that takes no time, but tells nothing before ``all_there``, a Unix time. It imports no torch."""

    all_there: float

    def begin(self, architecture: Mapping[str, object], checkpoint: str | None, seed: int) -> "Made":
        return Made(self.all_there, str(architecture))


@dataclass(frozen=True)
class Made:
    all_there: float
    architecture: str

    def step(self) -> Report:
        time.sleep(max(0.0, self.all_there - time.time()))
        return report_of(self.architecture)


def report_of(architecture: str) -> Report:
    """As much as a real trial of eight epochs reports; its accuracy is made from the architecture's text."""
    accuracy = sum(i * ord(c) for i, c in enumerate(architecture)) % 10_000 / 10_000
    now = time.time()
    return Report(
        status=Status.FINISHED,
        accuracy=accuracy,
        test_accuracy=accuracy,
        accuracy_by_epoch=(accuracy,) * 8,
        loss_by_epoch=(1.0,) * 8,
        started=now,
        ended=now,
        train_s=0.0,
        step_s=0.0,
        starts=(now,),
        node="here",
        device="none",
    )


@dataclass(frozen=True)
class Searched:
    """A space below 2.5 GFLOPs, its costs, and what a run on it is asked."""

    space: Space
    table: CostTable
    sampler: str
    trials: int

    @contextmanager
    def run(self, output: Path, name: str) -> Iterator[Run]:
        question = asked(
            {
                "space": self.space.name,
                "budget": "2.5GFLOPs",
                "trials": self.trials,
                "sampler": self.sampler,
                "output": output,
                "name": name,
                "references": False,
                "repeats": 0,
                "final": 0,
                "device": "cpu",
            }
        )
        state = {"space": self.space.document, "costs": table_to_document(self.table)}
        with Run.create(question, {}, state) as run:
            yield run

    def candidates(self, run: Run) -> Candidates:
        return Candidates(run, self.space, self.table, feasible_set(self.space, self.table, run.question))


def proposals(searched: Searched, run: Run) -> dict[str, Any]:
    """Milliseconds of proposing and of bookkeeping together, before each mark; then what ``--resume`` reads again."""
    candidates = searched.candidates(run)
    spent, memory = [], {"0": resident()}
    for i in range(searched.trials):
        start = time.perf_counter()
        candidate = candidates.suggest()
        assert candidate is not None
        candidates.update(candidate.name, report_of(candidate.key))
        spent.append((time.perf_counter() - start) * 1e3)
        if i + 1 in MARKS:
            memory[str(i + 1)] = resident()
    around = {m: statistics.median(spent[max(0, m - AROUND) : m]) for m in MARKS if m <= searched.trials}
    found: dict[str, Any] = {"ms_a_trial_before": {str(m): round(v, 2) for m, v in around.items()}}
    if 10_000 in around:
        found["growth_from_100_to_10000"] = round(around[10_000] / around[100], 2)
    start = time.perf_counter()
    again = searched.candidates(run)
    return {
        **found,
        "memory_after": memory,
        "resumed_s": round(time.perf_counter() - start, 1),
        "resumed_trials": again.sampler.asked,
    }


class Clock(Watch):
    """When each trial ended, the driver's own time until then, and its memory at the marks."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.busy: list[float] = []
        self.memory = {"0": resident()}

    def ended(self, record: Record) -> None:
        self.times.append(time.perf_counter())
        self.busy.append(time.process_time())
        if len(self.times) in MARKS:
            self.memory[str(len(self.times))] = resident()


def with_ray(searched: Searched, run: Run, workers: int) -> dict[str, Any]:
    """Trials a second, all of the search included but the measurement of costs."""
    os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_AIR_NEW_OUTPUT="0")
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    clock, candidates = Clock(), searched.candidates(run)
    judge = NoTime(time.time() + START_S * (workers + 2))
    resources = {"cpu": 1.0, "gpu": 0.0}
    work = Work(
        run=run.folder.name,
        stage="trials",
        judge=judge,
        trials=searched.trials,
        resources=resources,
        checkpoints=None,
        at_once=lambda: workers,
        grows=False,
    )
    run_trials(work, Conductor(candidates, lambda record: None, clock))
    clock.memory["end"] = resident()
    ray.shutdown()
    about = {"workers": workers, "trials": len(clock.times)}
    return {**about, **rates(clock.times, clock.busy, workers), "memory_after": clock.memory}


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
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
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
    wanted = parser.parse_args()
    device, space = parse_form("cpu"), load_space(wanted.space)
    table = build_table(space, device, Path("results/.cache"), print, measure_apart)
    searched = Searched(space, table, wanted.sampler, wanted.trials)
    found: Any = []
    with tempfile.TemporaryDirectory() as folder:
        for workers in [0] if wanted.proposals else wanted.workers:
            print(f"workers: {workers}", file=sys.stderr)
            with searched.run(Path(folder), f"workers-{workers}") as run:
                found.append(with_ray(searched, run, workers) if workers else proposals(searched, run))
    about = {"sampler": wanted.sampler, "space": wanted.space, **describe(device), "cores": os.cpu_count()}
    text = json.dumps({**about, "found": found}, indent=1)
    print(text)
    if wanted.output:
        wanted.output.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
