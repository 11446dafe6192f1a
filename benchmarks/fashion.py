"""Full trainings on real data: ResNet-20 with the papers' operators, and one that was searched, on Fashion-MNIST.

    python benchmarks/fashion.py --data-root /usr/share/datasets/fashion-mnist --output benchmarks/results/fashion.json

A search within what the SPConv paper's setting costs (α=1/2, two groups), judged on Fashion-MNIST; then all networks
are trained by ``python -m trainers.full``, by the recipe of the paper's Table 1 made short, under the same new seeds,
one process on each core. Accuracies are of the 10,000 test images, which nothing was chosen by. What stands in
``--runs`` is not done again.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import judging
import yaml

from nas import search
from nas.budget import broken
from nas.cost.flops import count_flops
from nas.papers.references import references
from nas.record import Record
from nas.result.ending import Outcome
from search_spaces import Architecture, load_space
from trainers.full.recipe import FULL_RECIPES

SPACE, DATASET, LIMIT = "mixed_resnet20", "fashion_mnist", "SPConv α=1/2 g=2"
RECIPE = "resnet20_cifar10"
FIRST_SEED = 100


def searched(asked: argparse.Namespace, budget: str) -> Outcome:
    options = {"dataset": DATASET, "data_root": asked.data_root, "judge": "inherited", "trials": asked.trials}
    options |= {"final": 0, "repeats": 0, "proxy_width": 1.0, "output": asked.runs, "name": "search"}
    folder = asked.runs / "search"
    return search(resume=folder) if folder.exists() else search(SPACE, budget, **options)


def trained(name: str, architecture: Architecture, seed: int, asked: argparse.Namespace) -> Mapping[str, Any]:
    """``trained.yaml``'s metrics of one full training."""
    folder = asked.runs / f"{architecture.key}-{seed}"
    if not (folder / "trained.yaml").exists():
        recipe = asdict(replace(FULL_RECIPES[RECIPE], dataset=DATASET))
        path = asked.runs / f"{architecture.key}.yaml"
        path.write_text(yaml.safe_dump({**architecture.to_dict(), "training": recipe}, allow_unicode=True))
        command = [sys.executable, "-m", "trainers.full", str(path), "--data-root", str(asked.data_root)]
        command += ["--epochs", str(asked.epochs), "--seed", str(seed), "--loaders", "0", "--output", str(folder)]
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=os.environ | threads, stdout=subprocess.DEVNULL)
    found: Mapping[str, Any] = yaml.safe_load((folder / "trained.yaml").read_text())["metrics"]["trained"]
    print(f"{name} seed {seed}: {100 * found['test']['top1']:.2f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("results/fashion"))
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    asked.runs.mkdir(parents=True, exist_ok=True)
    from_papers = references(load_space(SPACE))
    flops = {name: count_flops(a.inference(), (1, *a.backbone.shape)) for name, a in from_papers.items()}
    outcome = searched(asked, f"{flops[LIMIT] / 1e6}MFLOPs")
    assert outcome.best is not None
    limits = outcome.run.question.budget
    uniform = [r for r in outcome.references if r.finished and not broken(limits, r.costs)]
    rival = max(uniform, key=lambda r: r.accuracy or 0.0)
    networks = {name: a for name, a in from_papers.items() if flops[name] >= flops[LIMIT]}
    networks |= {r.name: r.built_architecture() for r in (rival,) if r.key not in {a.key for a in networks.values()}}
    networks["searched"] = outcome.best.built_architecture()
    jobs = [(name, a, FIRST_SEED + i) for i in range(asked.seeds) for name, a in networks.items()]
    with ThreadPoolExecutor(asked.processes) as pool:
        found = list(pool.map(lambda job: trained(job[0], job[1], job[2], asked), jobs))
    scores = {
        name: [100 * f["test"]["top1"] for job, f in zip(jobs, found, strict=True) if job[0] == name]
        for name in networks
    }
    table = {name: _line(scores[name], scores["searched"], _flops(a, outcome)) for name, a in networks.items()}
    print(json.dumps(table, indent=1, ensure_ascii=False))
    document: dict[str, Any] = {"table": table, "epochs": asked.epochs, "trials": asked.trials}
    document |= {"device": judging.device(), "searched": outcome.best.built_architecture().to_dict()}
    document["trainings"] = [
        {"network": name, "seed": seed, **f} for (name, _, seed), f in zip(jobs, found, strict=True)
    ]
    if asked.output:
        asked.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _flops(architecture: Architecture, outcome: Outcome) -> float:
    records: list[Record] = [*outcome.references, *outcome.candidates]
    return next(r.costs["flops"] for r in records if r.key == architecture.key)


def _line(own: list[float], searched: list[float], flops: float) -> dict[str, float]:
    """Means over the seeds with their standard errors; the searched network's lead, seed by seed."""
    lead = [ours - theirs for ours, theirs in zip(searched, own, strict=True)]
    (test, error), (difference, its_error) = _mean(own), _mean(lead)
    return {
        "mflops": flops / 1e6,
        "test": test,
        "error": error,
        "searched leads by": difference,
        "its error": its_error,
    }


def _mean(values: list[float]) -> tuple[float, float]:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return round(statistics.fmean(values), 2), round(error, 2)


if __name__ == "__main__":
    main()
