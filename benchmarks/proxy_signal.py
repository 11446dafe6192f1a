"""Does the proxy tell architectures apart? Trains random architectures under two seeds and compares the rankings.

    python benchmarks/proxy_signal.py --architectures 16 --processes 2 --output benchmarks/results/proxy_signal.json

Prints Kendall's τ between the seeds, the range of accuracy over the standard deviation between seeds, and the time a
trial takes on one core.
"""

import argparse
import json
import random
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from scipy.stats import kendalltau

from nas.cost.latency import describe
from search_spaces import Architecture, load_space, proxy_of
from trainers.data import DATASETS
from trainers.proxy import ProxyTraining
from trainers.recipe import Recipe

RESOLUTION = 24


def draw(space_name: str, count: int, seed: int) -> list[Architecture]:
    """Uniform random architectures of the space."""
    space, rng = load_space(space_name), random.Random(seed)
    return [space.architecture([rng.randrange(len(v.options)) for v in space.variables]) for _ in range(count)]


def train(index: int, architecture: Architecture, recipe: Recipe, width: float, seed: int) -> dict[str, object]:
    """One trial on one core: its accuracy per epoch, its losses, and its seconds."""
    torch.set_num_threads(1)
    data = DATASETS["digits_on_photos"](None, RESOLUTION)
    proxy, _ = proxy_of(architecture, width=width, resolution=RESOLUTION, classes=data.classes)
    torch.manual_seed(seed)
    start, start_cpu = time.perf_counter(), time.process_time()
    training = ProxyTraining(proxy.build(), data, recipe, seed)
    results = [training.run_epoch() for _ in range(recipe.epochs)]
    return {
        "architecture": index,
        "seed": seed,
        "accuracy": [r.accuracy for r in results],
        "loss": [r.loss for r in results],
        "test_accuracy": training.test_accuracy(),
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - start_cpu,
    }


def summary(trials: list[dict]) -> dict[str, float]:
    """τ between two seeds, range over noise, seconds."""
    seeds = sorted({t["seed"] for t in trials})
    final = {(t["architecture"], t["seed"]): t["accuracy"][-1] for t in trials}
    indices = sorted({a for a, _ in final if all((a, s) in final for s in seeds)})
    first, second = ([final[i, s] for i in indices] for s in seeds[:2])
    means = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    noise = statistics.mean((a - b) ** 2 / 2 for a, b in zip(first, second, strict=True)) ** 0.5
    return {
        "architectures": len(indices),
        "kendall_tau": float(kendalltau(first, second).statistic),
        "lowest": min(means),
        "highest": max(means),
        "noise_std": noise,
        "range_over_noise": (max(means) - min(means)) / noise,
        **{f"median_{key}": statistics.median(t[key] for t in trials) for key in ("seconds", "cpu_seconds")},
        **{f"max_{key}": max(t[key] for t in trials) for key in ("seconds", "cpu_seconds")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mixed_layerwise")
    parser.add_argument("--architectures", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--output", type=Path)
    for field, default in asdict(Recipe()).items():
        parser.add_argument(f"--{field.replace('_', '-')}", type=type(default), default=default)
    arguments = parser.parse_args()
    recipe = replace(Recipe(), **{k: getattr(arguments, k) for k in asdict(Recipe())})
    architectures = draw(arguments.space, arguments.architectures, seed=0)
    trials = []
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(train, i, a, recipe, arguments.width, seed)
            for i, a in enumerate(architectures)
            for seed in arguments.seeds
        ]
        for job in as_completed(jobs):
            trials.append(job.result())
            t = trials[-1]
            print(
                f"{t['architecture']:3} seed {t['seed']}: {t['accuracy'][-1]:.4f} in {t['seconds']:.0f} s", flush=True
            )
    report = {
        "summary": summary(trials) if len(arguments.seeds) > 1 else {},
        "recipe": asdict(recipe),
        "device": {**describe(torch.device("cpu")), "processes": arguments.processes},
        "trials": trials,
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1))
    print(json.dumps(report["summary"], indent=1))


if __name__ == "__main__":
    main()
