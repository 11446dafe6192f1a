"""Does a judge tell architectures apart? Judges random ones within a budget under two seeds, vanilla left out.

    python benchmarks/proxy_signal.py --judge inherited --output benchmarks/results/proxy_signal-inherited.json

Prints the standard deviation between seeds, the reliability of a single judging (the share of the variance of single
scores that is the architectures'), Kendall's τ between the seeds, and the processor's time of a judging.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import judging
import numpy as np
from scipy.stats import kendalltau

from trainers.judges import JUDGES, WANT_PARENT


def summary(trainings: Sequence[dict[str, Any]], figure: str = "accuracy") -> dict[str, float]:
    """Of ``figure`` under two seeds; of an accuracy in points.

    The variance between architectures is that of their means less the noise that the means have; the reliability of a
    single judging is the intraclass correlation: variance between architectures / (that + noise).
    """
    seeds = sorted({t["seed"] for t in trainings})
    by = {(t["name"], t["seed"]): 100 * t[figure] for t in trainings if figure in t}
    names = sorted({n for n, _ in by if all((n, s) in by for s in seeds)})
    table = np.array([[by[n, s] for s in seeds] for n in names])
    table += table.mean() - table.mean(axis=0)  # what a seed gives to all alike tells none apart, and is no noise
    noise = float(table.var(axis=1, ddof=1).mean()) * len(names) / max(1, len(names) - 1)
    real = max(0.0, float(table.mean(axis=1).var(ddof=1)) - noise / len(seeds))
    taus = [kendalltau(table[:, 0], table[:, i]).statistic for i in range(1, len(seeds))]
    return {
        "architectures": len(names),
        "seeds": len(seeds),
        "lowest": float(table.mean(axis=1).min()),
        "highest": float(table.mean(axis=1).max()),
        "std_between_architectures": real**0.5,
        "std_between_seeds": noise**0.5,
        "its_standard_error": (noise / (2 * len(names) * (len(seeds) - 1))) ** 0.5,
        "reliability": real / (real + noise) if real + noise else 0.0,
        "kendall_tau": float(np.mean(taus)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", choices=JUDGES, default="scratch")
    parser.add_argument("--space", default="spconv_layerwise")
    parser.add_argument("--budget", default="2.68GFLOPs")
    parser.add_argument("--architectures", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--dataset", default="digits_on_photos")
    parser.add_argument("--data-root")
    parser.add_argument("--output", type=Path)
    recipe_of = judging.recipe_of
    for field, kind in {"epochs": int, "images_per_epoch": int, "peak_lr": float, "averaged": float}.items():
        parser.add_argument(f"--{field.replace('_', '-')}", type=kind)
    asked = parser.parse_args()
    own = recipe_of(asked.judge)
    recipe = replace(own, **{k: v for k in asdict(own) if (v := getattr(asked, k, None)) is not None})
    space, architectures = judging.within(asked.space, asked.budget, asked.architectures, seed=0)
    wants = asked.judge in WANT_PARENT
    parent = judging.parent_weights(space, asked.dataset, asked.data_root) if wants else None
    jobs = [
        judging.Job(f"{i:02}", a.to_dict(), asked.judge, recipe, seed)
        for i, a in enumerate(architectures)
        for seed in asked.seeds
    ]
    trainings = []
    for job, report in judging.run(jobs, asked.processes, asked.dataset, asked.data_root, parent):
        trainings.append(judging.entry(job, report))
        print(f"{job.name} seed {job.seed}: {report.accuracy or 0:.2%} in {report.cpu_s:.0f} s", flush=True)
    found: dict[str, Any] = summary(trainings)
    found |= {f"{how.__name__}_cpu_s": how(t["cpu_s"] for t in trainings) for how in (statistics.median, max)}
    found["cross_entropy"] = summary(trainings, "cross_entropy")
    about = {
        "space": asked.space,
        "budget": asked.budget,
        "dataset": asked.dataset,
        "judge": asked.judge,
        "recipe": asdict(recipe),
    }
    judging.write(
        asked.output, {"summary": found, **about, "device": judging.device(), "trainings": sorted_by_name(trainings)}
    )


def sorted_by_name(trainings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(trainings, key=lambda t: (t["name"], t["seed"]))


if __name__ == "__main__":
    main()
