"""What the benchmarks of judging share: architectures within a budget, and trainings of them, many processes at once.

Nothing here is run by itself; see ``proxy_signal.py``, ``fidelity.py`` and ``proof.py``.
"""

import io
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.cost.device import describe
from nas.cost.table import build_table
from nas.form import parse_form
from nas.preparation import feasible_set
from nas.question import asked
from nas.uniform import compared_with, to_beat
from search_spaces import VANILLA, Architecture, Space, load_space
from trainers.data import DATASETS
from trainers.data.base import ImageData
from trainers.judges import JUDGES, WANT_PARENT
from trainers.judges.base import Setting
from trainers.loop import is_fast
from trainers.recipe import PARENT, RECIPES, SCRATCH, Recipe
from trainers.report import Report

WIDTH, RESOLUTION = 0.25, 24
TRUTH = replace(SCRATCH, epochs=40)  # two trials of the judge ``scratch``, ten of ``inherited``


@dataclass(frozen=True)
class Job:
    """One training: ``name`` of its architecture, as in its YAML.

    Args:
        judge: its name in the record; ``by`` is the one of ``JUDGES`` that judges, if that is another.
    """

    name: str
    architecture: Mapping[str, Any]
    judge: str
    recipe: Recipe
    seed: int
    by: str | None = None

    @property
    def judged_by(self) -> str:
        return self.by or self.judge


def within(space_name: str, budget: str | None, count: int, seed: int) -> tuple[Space, list[Architecture]]:
    """``count`` architectures of a space drawn uniformly from those within a budget; no two alike."""
    space = load_space(space_name)
    table = build_table(space, parse_form("cpu"), Path("results/.cache"))
    question = asked({"space": space_name, **({"budget": budget} if budget else {}), "seed": seed})
    feasible, rng = feasible_set(space, table, question), np.random.default_rng(seed)
    rows: set[tuple[int, ...]] = set()
    while len(rows) < count:
        rows.add(feasible.draw(feasible.uniform, rng, rows))
    return space, [space.architecture(row) for row in sorted(rows)]


def flops_of(space: Space, architectures: Mapping[str, Architecture]) -> dict[str, float]:
    """Of the targets, by name."""
    table = build_table(space, parse_form("cpu"), Path("results/.cache"))
    return {name: table.total(a)["flops"] for name, a in architectures.items()}


def parent_weights(space: Space, dataset: str, data_root: str | None, resolution: int = RESOLUTION) -> bytes:
    """The vanilla proxy's, trained once, as a run does."""
    job = Job("vanilla", space.uniform(VANILLA).to_dict(), "scratch", PARENT, 0)
    report = _judged(job, dataset, data_root, resolution, None)
    print(f"parent: accuracy {report.accuracy:.1%}, {report.cpu_s:.0f} s", flush=True)
    assert report.weights is not None
    return report.weights


def run(
    jobs: Sequence[Job],
    processes: int,
    dataset: str,
    data_root: str | None,
    parent: bytes | None,
    resolution: int = RESOLUTION,
) -> Iterator[tuple[Job, Report]]:
    """Each job in a process of its own thread, as they end."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_judged, job, dataset, data_root, resolution, parent): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


@cache
def _data(dataset: str, data_root: str | None, resolution: int) -> ImageData:
    """Made once in each process: with short trainings it would take a third of the time."""
    return DATASETS[dataset](None if data_root is None else Path(data_root), resolution)


def _judged(job: Job, dataset: str, data_root: str | None, resolution: int, parent: bytes | None) -> Report:
    data = _data(dataset, data_root, resolution)
    inherits = parent is not None and job.judged_by in WANT_PARENT
    state = torch.load(io.BytesIO(parent or b""), weights_only=True) if inherits else None
    setting = Setting(data, job.recipe, WIDTH, resolution, "cpu", 1, state, keeps_weights=job.name == "vanilla")
    judging = JUDGES[job.judged_by](setting).begin(job.architecture, None, job.seed)
    report = judging.step()
    while not report.status.is_final:
        report = judging.step()
    return report


def recipe_of(judge: str) -> Recipe:
    """As a run has it by default."""
    return RECIPES.get(judge, Recipe())


def uniform_at(space: Space, budget: str) -> dict[str, Architecture]:
    """Name → the uniform settings that a final stage within this budget has."""
    table = build_table(space, parse_form("cpu"), Path("results/.cache"))
    limits = asked({"space": space.name, "budget": budget}).budget
    named = {name: a for name, a in compared_with(space, table, limits).items() if name != "vanilla"}
    costs = {n: table.total(a) for n, a in named.items()}
    return {name: named[name] for name in to_beat(costs, limits, lambda n: (costs[n]["flops"], math.inf))}


def entry(job: Job, report: Report) -> dict[str, Any]:
    """One line of a record."""
    kept = ("accuracy", "test_accuracy", "cross_entropy", "initial_accuracy", "train_s", "cpu_s")
    figures = {name: getattr(report, name) for name in kept if getattr(report, name) is not None}
    return {"name": job.name, "seed": job.seed, "judge": job.judge, "reason": report.reason, **figures}


def device() -> dict[str, Any]:
    """What trains here, and in which type."""
    here = describe(parse_form("cpu"))
    dtype = "bfloat16" if is_fast(torch.device("cpu")) else "float32"
    return {**{n: here[n] for n in ("device", "torch", "threads")}, "dtype": dtype, "date": time.strftime("%Y-%m-%d")}


def write(path: Path | None, document: Mapping[str, Any]) -> None:
    """Prints the summary; writes all of it, if asked."""
    if path is not None:
        save(path, document)
    print(json.dumps(document["summary"], indent=1))


def save(path: Path, document: Mapping[str, Any]) -> None:
    """One training a line."""
    lines = ",\n".join("  " + json.dumps(t) for t in document["trainings"])
    head = json.dumps({k: v for k, v in document.items() if k != "trainings"}, indent=1)
    path.write_text(head[:-2] + ',\n "trainings": [\n' + lines + "\n ]\n}\n")
