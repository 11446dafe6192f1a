"""Whole searches with real trainings: what each sampler names, beside the best uniform setting.

    python benchmarks/trained.py --output benchmarks/results/trained.json
    python benchmarks/trained.py --space spconv_layerwise --budget 2.5GFLOPs --judge scratch --trials 12 --again 2 \\
        --runs results/trained-main --output benchmarks/results/trained-main.json

Searches by Ray, several seeds of each sampler with as many trials: small ones in the space of ``small.yaml`` (the judge
``inherited``, as in ``table.py``), or the main job's. What each names by the model, and the uniform settings that stood
beside it and scored best, are judged again under seeds that no search had; the differences are from that one. What was
begun is gone on with: the searches that are in ``--runs``, and those of ``--continue``.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import judging
import table
from proof import by_model

from nas import search
from nas.budget import broken
from nas.record import Record
from nas.run import Run
from nas.samplers import SAMPLERS
from search_spaces import load_space
from trainers.judges import JUDGES, WANT_PARENT
from trainers.report import Status

FIRST_SEED = 100
UNIFORM = "uniform "
SAME = 0.006  # points: a record is rounded
RESOLUTIONS = {table.SPACE: table.RESOLUTION}  # pixels of a proxy, where it is not a run's
Scores = Mapping[str, Sequence[float]]  # a network's key → its points, one for each seed


def searched(
    sampler: str, seed: int, asked: argparse.Namespace, weights: Path | None
) -> tuple[dict[str, Any], dict[str, Record]]:
    """One search: its line, and name → record of what it names and of the uniform settings beside it."""
    folder = asked.runs / f"{sampler}-{seed}"
    if not folder.exists():
        words: dict[str, Any] = {} if weights is None else {"weights": str(weights)}
        search(
            asked.space,
            asked.budget,
            judge=asked.judge,
            proxy_resolution=resolution(asked),
            sampler=sampler,
            seed=seed,
            trials=asked.trials,
            stop=asked.stop,
            repeats=0,
            final=0,
            device="cpu",
            output=str(asked.runs),
            name=folder.name,
            **words,
        )
    elif sum(r.name.isdigit() for r in Run.read(folder).candidates) < asked.trials:
        search(resume=folder)
    run = Run.read(folder)
    found, uniform = by_model(run)
    (name, named), *_ = found.items()
    epochs = sum(r.epoch for r in run.candidates) / (run.question.recipe.epochs * len(run.candidates))
    line = {"sampler": sampler, "seed": seed, "named": named.key, "trial": name, "gflops": named.costs["flops"] / 1e9}
    line |= {"epochs": round(epochs, 3), "score": round(100 * (named.accuracy or 0), 2)}
    within = [r for r in uniform.values() if not broken(run.question.budget, r.costs)]
    return line, {named.key: named, **{f"{UNIFORM}{r.key}": r for r in within}}


def resolution(asked: argparse.Namespace) -> int:
    """The proxies' pixels."""
    return RESOLUTIONS.get(asked.space, judging.RESOLUTION)


def parent_of(asked: argparse.Namespace) -> Path | None:
    """Where the weights lie that every search starts from, trained once; none where trials start from nothing."""
    if asked.judge not in WANT_PARENT:
        return None
    weights: Path = asked.runs / "parent.pt"
    if not weights.exists():
        parent = judging.parent_weights(load_space(asked.space), table.DATASET, None, resolution(asked))
        weights.write_bytes(parent)
    return weights


def judged_again(
    networks: Mapping[str, Record], known: Scores, weights: Path | None, asked: argparse.Namespace
) -> Scores:
    """Under seeds that no search had; those that are known once, to see that the parent is the same."""
    recipe = judging.recipe_of(asked.judge)
    jobs = [
        judging.Job(name, r.architecture, asked.judge, recipe, FIRST_SEED + i)
        for i in range(asked.again)
        for name, r in networks.items()
        if i == 0 or name not in known
    ]
    scores: dict[str, list[float]] = defaultdict(list, {name: list(found) for name, found in known.items()})
    parent = None if weights is None else weights.read_bytes()
    for job, report in judging.run(jobs, asked.processes, table.DATASET, None, parent, resolution(asked)):
        points = 100 * (report.accuracy or 0)
        print(f"{job.name} seed {job.seed}: {points:.2f} in {report.cpu_s:.0f} s", flush=True)
        if job.name in known:
            if all(abs(points - earlier) > SAME for earlier in known[job.name]):
                raise SystemExit(f"{job.name} has {points:.2f}, {asked.earlier} {known[job.name]}: another parent")
        elif report.status is Status.FINISHED:
            scores[job.name].append(points)
    return scores


def summary(
    lines: Sequence[Mapping[str, Any]], scores: Scores, networks: Mapping[str, Record], asked: argparse.Namespace
) -> dict[str, Any]:
    """Each sampler's differences from the best uniform setting, in points, with their error."""
    means = {name: statistics.fmean(found) for name, found in scores.items()}
    within = [statistics.variance(found) for found in scores.values() if len(found) > 1]
    noise = statistics.fmean(within) ** 0.5 if within else 0.0
    best = max((name for name in means if name.startswith(UNIFORM)), key=lambda name: means[name])
    shown = networks[best].name if best in networks else best
    told: dict[str, Any] = {"best uniform": [shown, round(means[best], 2)], "noise": round(noise, 2)}
    for sampler in asked.samplers:
        over = [means[line["named"]] - means[best] for line in lines if line["sampler"] == sampler]
        if not over:
            continue
        between = statistics.stdev(over) / len(over) ** 0.5 if len(over) > 1 else 0.0
        error = (between**2 + noise**2 / asked.again) ** 0.5  # searches differ; so do the best uniform one's scores
        told[sampler] = {"over the best uniform": round(statistics.fmean(over), 2), "error": round(error, 2)}
        told[sampler]["each"] = [round(o, 2) for o in over]
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default=table.SPACE)
    parser.add_argument("--budget", default="340MFLOPs")
    parser.add_argument("--judge", choices=JUDGES, default="inherited")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=["additive", "random"])
    parser.add_argument("--stop", default="none")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--again", type=int, default=4, help="seeds under which what was named is judged again")
    parser.add_argument("--runs", type=Path, default=Path("results/trained"), help="what is there is not done again")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--continue", dest="earlier", type=Path, help="a record whose searches are taken over")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    asked.runs.mkdir(parents=True, exist_ok=True)
    weights = parent_of(asked)
    before = json.loads(asked.earlier.read_text()) if asked.earlier else {"searches": [], "judged again": {}}
    known = {name: found for name, found in before["judged again"].items() if len(found) == asked.again}
    lines, networks, uniform = list(before["searches"]), dict[str, Record](), dict[str, list[Record]]()
    done = {(line["sampler"], line["seed"]) for line in lines}
    for seed in range(asked.seeds):
        for sampler in [s for s in asked.samplers if (s, seed) not in done]:
            line, found = searched(sampler, seed, asked, weights)
            lines.append(line)
            networks |= {name: r for name, r in found.items() if not name.startswith(UNIFORM)}
            for name, r in found.items():
                if name.startswith(UNIFORM):
                    uniform.setdefault(name, []).append(r)
            print(json.dumps(line), flush=True)
    if uniform:  # the best within the budget by its scores in all searches: each has them, under a seed of its own
        best = max(uniform, key=lambda name: statistics.fmean(r.accuracy or 0.0 for r in uniform[name]))
        networks[best] = uniform[best][0]
    scores = judged_again(networks, known, weights, asked)
    told = summary(lines, scores, networks, asked)
    print(json.dumps(told, indent=1))
    document = {"summary": told, "space": Path(asked.space).name, "budget": asked.budget, "judge": asked.judge}
    document |= {"trials": asked.trials, "stop": asked.stop, "device": judging.device(), "searches": lines}
    document |= {"judged again": {name: [round(s, 2) for s in found] for name, found in sorted(scores.items())}}
    if asked.output:
        asked.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
