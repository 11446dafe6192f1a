"""Searches with real trainings, small ones: what each sampler names, beside the best uniform setting.

    python benchmarks/trained.py --output benchmarks/results/trained.json

Whole searches by Ray in the space of ``small.yaml`` (the judge ``inherited``, as in ``table.py``), several seeds of
each sampler with as many trials. What each names by the model, and the uniform settings that stood beside it, are
judged again under seeds that no search had; the differences are from the uniform setting that is the best of all then.
"""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import judging
import table
from proof import by_model

from nas import search
from nas.record import Record
from nas.run import Run
from nas.samplers import SAMPLERS
from search_spaces import load_space
from trainers.report import Status

FIRST_SEED = 100
SAME = 0.006  # points: a record is rounded


def searched(
    sampler: str, seed: int, asked: argparse.Namespace, weights: Path
) -> tuple[dict[str, Any], dict[str, Record]]:
    """One search: its line, and name → record of what it names and of the uniform settings beside it."""
    folder = weights.parent / f"{sampler}-{seed}"
    if not folder.exists():
        search(
            table.SPACE,
            asked.budget,
            judge="inherited",
            weights=str(weights),
            proxy_resolution=table.RESOLUTION,
            sampler=sampler,
            seed=seed,
            trials=asked.trials,
            stop=asked.stop,
            repeats=0,
            final=0,
            device="cpu",
            output=str(weights.parent),
            name=folder.name,
        )
    run = Run.read(folder)
    found, uniform = by_model(run)
    (name, named), *_ = found.items()
    epochs = sum(r.epoch for r in run.candidates) / (run.question.recipe.epochs * len(run.candidates))
    line = {"sampler": sampler, "seed": seed, "named": named.key, "trial": name, "gflops": named.costs["flops"] / 1e9}
    line |= {"epochs": round(epochs, 3), "score": round(100 * (named.accuracy or 0), 2)}
    return line, {named.key: named, **{f"uniform {r.key}": r for r in uniform.values()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="340MFLOPs")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=["additive", "random"])
    parser.add_argument("--stop", default="none")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--again", type=int, default=4, help="seeds under which what was named is judged again")
    parser.add_argument(
        "--runs", type=Path, default=Path("results/trained"), help="what is there is not searched again"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--continue", dest="earlier", type=Path, help="a record whose searches are taken over")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    space = load_space(table.SPACE)
    asked.runs.mkdir(parents=True, exist_ok=True)
    weights = asked.runs / "parent.pt"
    if not weights.exists():
        weights.write_bytes(judging.parent_weights(space, table.DATASET, None, table.RESOLUTION))
    parent = weights.read_bytes()
    before = json.loads(asked.earlier.read_text()) if asked.earlier else {"searches": [], "judged again": {}}
    known = {name: found for name, found in before["judged again"].items() if len(found) == asked.again}
    lines, networks = list(before["searches"]), dict[str, Record]()
    done = {(line["sampler"], line["seed"]) for line in lines}
    for seed in range(asked.seeds):
        for sampler in [s for s in asked.samplers if (s, seed) not in done]:
            line, found = searched(sampler, seed, asked, weights)
            lines.append(line)
            networks |= found
            print(json.dumps(line), flush=True)
    recipe = judging.recipe_of("inherited")
    jobs = [
        judging.Job(name, r.architecture, "inherited", recipe, FIRST_SEED + i)
        for i in range(asked.again)
        for name, r in networks.items()
        if i == 0 or name not in known  # those that are known once, to see that the parent is the same
    ]
    scores: dict[str, list[float]] = defaultdict(list, {name: list(found) for name, found in known.items()})
    for job, report in judging.run(jobs, asked.processes, table.DATASET, None, parent, table.RESOLUTION):
        points = 100 * (report.accuracy or 0)
        if job.name in known:
            if all(abs(points - earlier) > SAME for earlier in known[job.name]):
                raise SystemExit(f"{job.name} has {points:.2f}, {asked.earlier} {known[job.name]}: another parent")
        elif report.status is Status.FINISHED:
            scores[job.name].append(points)
    means = {name: statistics.fmean(found) for name, found in scores.items()}
    within = [statistics.variance(found) for found in scores.values() if len(found) > 1]
    noise = statistics.fmean(within) ** 0.5 if within else 0.0
    best = max((name for name in means if name.startswith("uniform ")), key=lambda name: means[name])
    summary: dict[str, Any] = {"best uniform": [networks[best].name, round(means[best], 2)], "noise": round(noise, 2)}
    for sampler in asked.samplers:
        over = [means[line["named"]] - means[best] for line in lines if line["sampler"] == sampler]
        between = statistics.stdev(over) / len(over) ** 0.5 if len(over) > 1 else 0.0
        error = (between**2 + noise**2 / asked.again) ** 0.5  # searches differ; so do the best uniform one's scores
        summary[sampler] = {"over the best uniform": round(statistics.fmean(over), 2), "error": round(error, 2)}
        summary[sampler]["each"] = [round(o, 2) for o in over]
    document = {"summary": summary, "budget": asked.budget, "trials": asked.trials, "stop": asked.stop}
    document |= {"device": judging.device(), "searches": lines}
    document |= {"judged again": {name: [round(s, 2) for s in found] for name, found in sorted(scores.items())}}
    print(json.dumps(summary, indent=1))
    if asked.output:
        asked.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
