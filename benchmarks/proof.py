"""What the product promises: the network that a search found, against the best uniform setting at its FLOPs.

    python launch.py --space spconv_layerwise --budget 2.68GFLOPs --trials 60 --name proof
    python benchmarks/proof.py results/proof --output benchmarks/results/proof-spconv.json

The network that the final stage named, and all uniform settings that stood there, the papers' and the space's own,
trained twice as long as in a search, under seeds that the search had not seen.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import judging
from proxy_signal import sorted_by_name

from nas.record import Record
from nas.result.measured import Measured
from nas.result.verdict import Verdict, verdict_of
from nas.run import Run
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
    said = verdict_of(run.judged("final"), question.budget, Measured({}, {}))
    if said is None or said.found is None:
        parser.error(f"{asked.run} has no final stage with a candidate within its budget: run the search to its end")
    chosen = [s for s in said.standings if s is said.found or (s.is_uniform and not asked.alone)]
    known = {s.name: s.trainings[0] for s in chosen}
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
            records.append(replace(known[job.name], seed=job.seed, **told))
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


def summary(verdict: Verdict, run: Run) -> dict[str, Any]:
    """Each network's mean in points with its error, the most accurate first."""
    trials: list[Record] = run.candidates
    return {
        "sentence": verdict.sentence(),
        "trials": len(trials),
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
