"""Does a judge agree with a long training? The same architectures by every judge, and for long by SGD.

    python benchmarks/fidelity.py --output benchmarks/results/fidelity.json

Long trainings under several seeds, so that the truth's own reliability is known: the correlation of a judge with the
truth is divided by its square root. FLOPs alone are the baseline. Beside the judges: what an inherited network is worth
before any training. A recipe of one's own is judged as well:

    python benchmarks/fidelity.py --uniform --also sgd12=scratch,epochs=12,optimizer=sgd,peak_lr=0.1

``--uniform`` adds the uniform settings with as many FLOPs, ``--continue`` takes over what an earlier record has.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import judging
import numpy as np
from proxy_signal import sorted_by_name, summary
from scipy.stats import kendalltau, pearsonr

from trainers.judges import JUDGES, WANT_PARENT
from trainers.recipe import Recipe

RESAMPLES = 2000
OF_JUDGE = ("std_between_architectures", "std_between_seeds", "reliability")  # where it has several seeds
LEAST = 0.1  # reliability of the truth, below which nothing can be corrected for its noise


def agreement(short: Mapping[str, float], truth: Mapping[str, float], reliability: float) -> dict[str, float | None]:
    """Of scores with the truth, by name; the error is a bootstrap's over architectures."""
    names = sorted(set(short) & set(truth))
    x, y = (np.array([of[n] for n in names]) for of in (short, truth))
    rng = np.random.default_rng(0)
    again = [rng.integers(len(names), size=len(names)) for _ in range(RESAMPLES)]
    found = [pearsonr(x[i], y[i]).statistic for i in again if np.ptp(x[i]) and np.ptp(y[i])]
    correlation = float(pearsonr(x, y).statistic)
    return {
        "correlation": correlation,
        "its_standard_error": float(np.std(found)),
        "corrected_for_the_truths_noise": correlation / reliability**0.5 if reliability > LEAST else None,
        "kendall_tau": float(kendalltau(x, y).statistic),
    }


def means(trainings: Sequence[Mapping[str, Any]], judge: str, seeds: Sequence[int] | None = None) -> dict[str, float]:
    """Name → mean accuracy in points, of all seeds or of some."""
    by: dict[str, list[float]] = {}
    for t in trainings:
        if t["judge"] == judge and "accuracy" in t and (seeds is None or t["seed"] in seeds):
            by.setdefault(t["name"], []).append(100 * t["accuracy"])
    return {name: float(np.mean(values)) for name, values in by.items()}


def compared(trainings: Sequence[dict[str, Any]], flops: Mapping[str, float]) -> dict[str, Any]:
    """Each judge's single judgings (its first seed), and pairs of judges' standard scores, against the truth."""
    of_truth = summary([t for t in trainings if t["judge"] == "truth"])
    seeds = of_truth["seeds"]
    reliability = seeds * of_truth["reliability"] / (1 + (seeds - 1) * of_truth["reliability"])  # Spearman–Brown
    truth = means(trainings, "truth")
    judges = dict.fromkeys(t["judge"] for t in trainings if t["judge"] != "truth")
    single = {j: means(trainings, j, [0]) for j in judges}
    start = {t["name"]: 100 * t["initial_accuracy"] for t in trainings if t["seed"] == 0 and "initial_accuracy" in t}
    if start:
        single["inherited, before training"] = start
    pairs = {f"{a} + {b}": _standardised([single[a], single[b]]) for a, b in combinations(single, 2)}
    found: dict[str, Any] = {"truth": {**of_truth, "reliability_of_its_mean": reliability}}
    for name, scores in {"flops": {n: flops[n] for n in truth}, **single, **pairs}.items():
        found[name] = agreement(scores, truth, reliability)
    for judge in judges:
        theirs = [t for t in trainings if t["judge"] == judge]
        if len({t["seed"] for t in theirs}) > 1:
            of_judge = summary(theirs)
            found[judge] |= {f"its_{name}": of_judge[name] for name in OF_JUDGE}
    return found


def by_kind(trainings: Sequence[dict[str, Any]], flops: Mapping[str, float]) -> dict[str, Any]:
    """Of the random architectures alone, and with the uniform settings where there are some."""
    drawn = [t for t in trainings if t["name"].isdigit()]
    found = {"random": compared(drawn, flops)}
    return found if len(drawn) == len(trainings) else {**found, "with uniform settings": compared(trainings, flops)}


def _standardised(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of several judges' scores, each with mean 0 and deviation 1."""
    names = sorted(set.intersection(*(set(s) for s in scores)))
    columns = [np.array([s[n] for n in names]) for s in scores]
    mean = np.mean([(c - c.mean()) / c.std() for c in columns], axis=0)
    return dict(zip(names, mean.tolist(), strict=True))


def recipe_from(text: str) -> tuple[str, str, Recipe]:
    """Name, judge and recipe of ``NAME=JUDGE,field=value,…``; fields that are not named are those of the judge."""
    name, _, rest = text.partition("=")
    judge, *fields = rest.split(",")
    own = judging.recipe_of(judge)
    given = {key: value for key, _, value in (field.partition("=") for field in fields)}
    kinds = {key: type(value) for key, value in asdict(own).items()}
    if not name or judge not in JUDGES or not given.keys() <= kinds.keys():
        known = f"JUDGE one of {', '.join(JUDGES)} and fields of {', '.join(kinds)}"
        raise argparse.ArgumentTypeError(f"must be NAME=JUDGE,field=value,… with {known}; got {text}")
    return name, judge, replace(own, **{key: kinds[key](value) for key, value in given.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="spconv_layerwise")
    parser.add_argument("--budget", default="2.68GFLOPs")
    parser.add_argument("--architectures", type=int, default=16)
    parser.add_argument("--truth-seeds", type=int, default=2)
    parser.add_argument("--truth-epochs", type=int, default=judging.TRUTH.epochs)
    parser.add_argument("--judge-seeds", type=int, default=2)
    parser.add_argument("--judges", nargs="*", default=list(JUDGES), choices=JUDGES)
    parser.add_argument("--also", nargs="+", type=recipe_from, default=[], metavar="NAME=JUDGE,field=value,…")
    parser.add_argument("--uniform", action="store_true", help="the uniform settings with as many FLOPs too")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--dataset", default="digits_on_photos")
    parser.add_argument("--data-root")
    parser.add_argument("--continue", dest="earlier", type=Path)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    space, drawn = judging.within(asked.space, asked.budget, asked.architectures, seed=0)
    named = {f"{i:02}": a for i, a in enumerate(drawn)}
    named |= judging.uniform_at(space, asked.budget) if asked.uniform else {}
    truth = replace(judging.TRUTH, epochs=asked.truth_epochs)
    ways = {j: (None, judging.recipe_of(j)) for j in asked.judges} | {n: (by, r) for n, by, r in asked.also}
    ways["truth"] = ("scratch", truth)
    trainings = json.loads(asked.earlier.read_text())["trainings"] if asked.earlier else []
    known = {(t["name"], t["judge"], t["seed"]) for t in trainings}
    jobs = [
        judging.Job(name, a.to_dict(), judge, recipe, seed, by)
        for judge, (by, recipe) in sorted(ways.items(), key=lambda w: w[1][1].images)
        for seed in range(asked.truth_seeds if judge == "truth" else asked.judge_seeds)
        for name, a in named.items()
        if (name, judge, seed) not in known
    ]
    wants = any(job.judged_by in WANT_PARENT for job in jobs)
    parent = judging.parent_weights(space, asked.dataset, asked.data_root) if wants else None
    flops = judging.flops_of(space, named)
    about = {"space": asked.space, "budget": asked.budget, "dataset": asked.dataset, "flops": flops}
    about["recipes"] = {name: {"judge": by or name, **asdict(recipe)} for name, (by, recipe) in ways.items()}
    for job, report in judging.run(jobs, asked.processes, asked.dataset, asked.data_root, parent):
        trainings.append(judging.entry(job, report))
        print(f"{job.judge} {job.name} seed {job.seed}: {report.accuracy or 0:.2%}, {report.cpu_s:.0f} s", flush=True)
        if asked.output:  # a long run that is interrupted leaves what it has
            judging.save(asked.output, {"summary": {}, **about, "trainings": sorted_by_name(trainings)})
    found = by_kind(trainings, flops)
    judging.write(
        asked.output,
        {"summary": found, **about, "device": judging.device(), "trainings": sorted_by_name(trainings)},
    )


if __name__ == "__main__":
    main()
