"""Does a judge agree with a long training? The same architectures by every judge, and ten times as long with SGD.

    python benchmarks/fidelity.py --output benchmarks/results/fidelity.json

Long trainings under several seeds, so that the truth's own reliability is known: the correlation of a judge with the
truth is divided by its square root. FLOPs alone are the baseline. ``--continue`` takes over what an interrupted record
has.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import judging
import numpy as np
from proxy_signal import sorted_by_name, summary
from scipy.stats import kendalltau, pearsonr

from trainers.judges import JUDGES

RESAMPLES = 2000


def agreement(short: Mapping[str, float], truth: Mapping[str, float], reliability: float) -> dict[str, float]:
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
        "corrected_for_the_truths_noise": correlation / max(reliability, 1e-9) ** 0.5,
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
    """Each judge's single judgings (its first seed), and both judges' mean ranks, against the truth."""
    of_truth = summary([t for t in trainings if t["judge"] == "truth"])
    seeds = of_truth["seeds"]
    reliability = seeds * of_truth["reliability"] / (1 + (seeds - 1) * of_truth["reliability"])  # Spearman–Brown
    truth = means(trainings, "truth")
    judges = [j for j in JUDGES if any(t["judge"] == j for t in trainings)]
    single = {j: means(trainings, j, [0]) for j in judges}
    found: dict[str, Any] = {"truth": {**of_truth, "reliability_of_its_mean": reliability}}
    found["flops"] = agreement({n: flops[n] for n in truth}, truth, reliability)
    found |= {j: agreement(scores, truth, reliability) for j, scores in single.items()}
    if len(judges) > 1:
        found["together"] = agreement(_standardised(list(single.values())), truth, reliability)
    return found


def _standardised(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of several judges' scores, each with mean 0 and deviation 1."""
    names = sorted(set.intersection(*(set(s) for s in scores)))
    columns = [np.array([s[n] for n in names]) for s in scores]
    mean = np.mean([(c - c.mean()) / c.std() for c in columns], axis=0)
    return dict(zip(names, mean.tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="spconv_layerwise")
    parser.add_argument("--budget", default="2.68GFLOPs")
    parser.add_argument("--architectures", type=int, default=16)
    parser.add_argument("--truth-seeds", type=int, default=2)
    parser.add_argument("--truth-epochs", type=int, default=judging.TRUTH.epochs)
    parser.add_argument("--judge-seeds", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--dataset", default="digits_on_photos")
    parser.add_argument("--data-root")
    parser.add_argument("--continue", dest="earlier", type=Path)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    space, drawn = judging.within(asked.space, asked.budget, asked.architectures, seed=0)
    named = {f"{i:02}": a for i, a in enumerate(drawn)}
    parent = judging.parent_weights(space, asked.dataset, asked.data_root)
    truth = replace(judging.TRUTH, epochs=asked.truth_epochs)
    recipes = {"truth": truth, **{j: judging.recipe_of(j) for j in JUDGES}}
    trainings = json.loads(asked.earlier.read_text())["trainings"] if asked.earlier else []
    known = {(t["name"], t["judge"], t["seed"]) for t in trainings}
    jobs = [
        judging.Job(name, a.to_dict(), judge, recipe, seed)
        for judge, recipe in sorted(recipes.items(), key=lambda r: r[1].images)
        for seed in range(asked.truth_seeds if judge == "truth" else asked.judge_seeds)
        for name, a in named.items()
        if (name, judge, seed) not in known
    ]
    flops = judging.flops_of(space, named)
    about = {"space": asked.space, "budget": asked.budget, "dataset": asked.dataset, "flops": flops}
    about["recipes"] = {name: asdict(recipe) for name, recipe in recipes.items()}
    for job, report in judging.run(jobs, asked.processes, asked.dataset, asked.data_root, parent):
        trainings.append(judging.entry(job, report))
        print(f"{job.judge} {job.name} seed {job.seed}: {report.accuracy or 0:.2%}, {report.cpu_s:.0f} s", flush=True)
        if asked.output:  # a long run that is interrupted leaves what it has
            judging.save(asked.output, {"summary": {}, **about, "trainings": sorted_by_name(trainings)})
    found = compared(trainings, flops)
    judging.write(
        asked.output,
        {"summary": found, **about, "device": judging.device(), "trainings": sorted_by_name(trainings)},
    )


if __name__ == "__main__":
    main()
