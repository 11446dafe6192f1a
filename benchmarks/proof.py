"""What the product promises: the network that a search found, against the best uniform setting at its FLOPs.

    python launch.py --space spconv_layerwise --budget 2.68GFLOPs --trials 60 --name proof
    python benchmarks/proof.py results/proof --output benchmarks/results/proof-spconv.json

The network that the final stage named, and all uniform settings that stood there, the papers' and the space's own,
trained twice as long as in a search, under seeds that the search had not seen. Of a run without a final stage the best
candidate by the model, and the uniform settings that would have stood there.
"""

import argparse
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import judging
from proxy_signal import sorted_by_name

from nas.budget import broken
from nas.cost.table import table_from
from nas.record import Record
from nas.result.measured import Measured
from nas.result.verdict import Verdict, verdict_of
from nas.run import Run
from nas.stages import pooled_of
from nas.uniform import VANILLA_NAME, to_beat
from search_spaces import load_space
from trainers.report import Status

FIRST_SEED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=judging.TRUTH.epochs)
    parser.add_argument("--alone", action="store_true", help="the network that was named and no other")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    run = Run.read(asked.run)
    question = run.question
    found, uniform = by_final_stage(run) or by_model(run)
    if not found:
        parser.error(f"{asked.run} has no candidate within its budget: go on with the search")
    known = found if asked.alone else {**found, **uniform}
    recipe = replace(judging.TRUTH, epochs=asked.epochs)
    jobs = [
        judging.Job(name, r.architecture, "truth", recipe, FIRST_SEED + i, by="scratch")
        for i in range(asked.seeds)
        for name, r in known.items()
    ]
    root = None if question.data_root is None else str(question.data_root)
    trainings, records = [], []
    for job, report in judging.run(jobs, asked.processes, question.dataset, root, None):
        trainings.append(judging.entry(job, report))
        print(f"{job.name} seed {job.seed}: {report.accuracy or 0:.2%} in {report.cpu_s:.0f} s", flush=True)
        if report.status is Status.FINISHED:
            told = {name: getattr(report, name) for name in ("accuracy", "test_accuracy", "accuracy_by_epoch")}
            records.append(replace(known[job.name], name=job.name, seed=job.seed, **told))
    verdict = verdict_of(records, question.budget, Measured({}, {}))
    assert verdict is not None
    judging.write(
        asked.output,
        {
            "summary": summary(verdict, run),
            "recipe": asdict(recipe),
            "device": judging.device(),
            "trainings": sorted_by_name(trainings),
        },
    )


Networks = dict[str, Record]  # name → a record of it


def by_final_stage(run: Run) -> tuple[Networks, Networks] | None:
    """What it named, and the uniform settings; ``None`` where there was none, or with no candidate."""
    said = verdict_of(run.judged("final"), run.question.budget, Measured({}, {}))
    if said is None or said.found is None:
        return None
    uniform = {s.name: s.trainings[0] for s in said.standings if s.is_uniform}
    return {said.found.name: said.found.trainings[0]}, uniform


def by_model(run: Run) -> tuple[Networks, Networks]:
    """The same by the model over all scores."""
    table = table_from(run.costs_document)
    pool = None if table is None else pooled_of(run, load_space(run.question.space), table)
    inside = [r for r in run.candidates if r.finished and r.name.isdigit() and not broken(run.question.budget, r.costs)]
    if pool is None or not inside:
        return {}, {}
    best, beside = max(inside, key=pool.mean), {r.name: r for r in run.references if r.finished}
    costs = {name: r.costs for name, r in beside.items()}
    named = to_beat(costs, run.question.budget, lambda name: (pool.mean(beside[name]), math.inf))
    return {best.name: best}, {shown: beside[name] for name, shown in named.items() if name != VANILLA_NAME}


def summary(verdict: Verdict, run: Run) -> dict[str, Any]:
    """Each network's mean in points with its error, the most accurate first."""
    return {
        "sentence": verdict.sentence(),
        "trials": sum(r.name.isdigit() for r in run.candidates),  # not the uniform settings among them
        "budget": [str(b) for b in run.question.budget],
        "std_between_seeds": 100 * verdict.std,
        "networks": {
            s.name: {
                "validation": 100 * s.accuracy,
                "error": 100 * verdict.error(s),
                "test": 100 * s.test_accuracy,
                "gflops": s.flops / 1e9,
            }
            for s in verdict.standings
        },
    }


if __name__ == "__main__":
    main()
