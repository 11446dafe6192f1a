"""Real accuracies of many small networks: a truth that nobody made up, for ``search_quality.py``.

    python benchmarks/table.py --output benchmarks/results/table.json

Architectures of ``small.yaml`` (eight slots; the proxy is ResNet-18 at a quarter of its width and 16 pixels): the
uniform settings, and as many draws within each of three budgets. Each is judged once, the first ones under further
seeds too, so that the noise is known. ``--continue FILE`` goes on with one that was interrupted, or with more of them.
"""

import argparse
import io
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import judging
import torch
from proxy_signal import sorted_by_name, summary

from nas.preparation import SENSITIVITY_IMAGES
from nas.uniform import choices
from search_spaces import VANILLA, Architecture, Space, load_space, proxy_of
from search_spaces.sensitivity import sensitivity
from trainers.data import DATASETS
from trainers.judges import JUDGES, WANT_PARENT
from trainers.report import Report

SPACE = str(Path(__file__).parent / "small.yaml")
BUDGETS = ("310MFLOPs", "340MFLOPs", "420MFLOPs")  # tight, middling, loose
RESOLUTION = 16
DATASET = "digits_on_photos"
SAVED_EVERY = 20  # trainings
DIGITS = 4


def architectures(count: int) -> Iterator[Architecture]:
    """The uniform settings; then draws, of each budget in turn."""
    space = load_space(SPACE)
    each = [judging.within(SPACE, budget, count // len(BUDGETS), seed)[1] for seed, budget in enumerate(BUDGETS)]
    yield from map(space.uniform, choices(space))
    yield from chain.from_iterable(zip(*each, strict=True))


def named(space: Space, found: Sequence[Architecture]) -> dict[str, Architecture]:
    """By their option indices, ``3-0-12-…``; each once."""
    rows = {space.indices(a): a for a in found}
    return {"-".join(map(str, row)): a for row, a in rows.items() if row is not None}


def sensitivities(space: Space, parent: bytes) -> list[list[float]]:
    """As a run measures them of the weights that candidates inherit."""
    torch.set_num_threads(1)
    data = DATASETS[DATASET](None, RESOLUTION)
    vanilla = space.uniform(VANILLA)
    dense = proxy_of(vanilla, width=judging.WIDTH, resolution=RESOLUTION, classes=data.classes)[0].build()
    dense.load_state_dict(torch.load(io.BytesIO(parent), weights_only=True))
    images = data.normalise(data.epoch(SENSITIVITY_IMAGES, torch.Generator().manual_seed(0)).images)
    return [[round(moved, 6) for moved in row] for row in sensitivity(space, dense, images)]


def entry(job: judging.Job, report: Report) -> dict[str, Any]:
    """One line of the record: what a search would have seen of it, and what it took."""
    figures = {n: getattr(report, n) for n in ("accuracy", "test_accuracy", "cross_entropy", "initial_accuracy")}
    curve = [round(a, DIGITS) for a in report.accuracy_by_epoch]
    rounded = {n: round(v, DIGITS) for n, v in figures.items() if v is not None}
    return {"name": job.name, "seed": job.seed, **rounded, "by_epoch": curve, "cpu_s": round(report.cpu_s or 0, 1)}


def summarised(trainings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many there are, and how far the scores of those under several seeds can be believed."""
    seeds = {t["seed"] for t in trainings}
    repeated = {t["name"] for t in trainings if t["seed"] == max(seeds)} if len(seeds) > 1 else set()
    scores = [100 * t["accuracy"] for t in trainings if t["seed"] == 0 and "accuracy" in t]
    found = {"architectures": len(scores), "mean": statistics.fmean(scores), "std": statistics.pstdev(scores)}
    found["median_cpu_s"] = statistics.median(t["cpu_s"] for t in trainings)
    again = summary([t for t in trainings if t["name"] in repeated]) if len(repeated) > 1 else None
    return {**found, **({"repeated": again} if again else {})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", type=int, default=1000, help="drawn, beside the uniform ones")
    parser.add_argument("--repeated", type=int, default=60, help="of all, judged under every seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--judge", choices=JUDGES, default="inherited")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--continue", dest="earlier", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    space, recipe = load_space(SPACE), judging.recipe_of(asked.judge)
    all_of_them = named(space, list(architectures(asked.architectures)))
    repeated = list(all_of_them.items())[: asked.repeated]
    wanted = [(n, a, 0) for n, a in all_of_them.items()]
    wanted += [(n, a, seed) for seed in range(1, asked.seeds) for n, a in repeated]
    trainings: list[dict[str, Any]] = json.loads(asked.earlier.read_text())["trainings"] if asked.earlier else []
    known = {(t["name"], t["seed"]) for t in trainings}
    jobs = [judging.Job(n, a.to_dict(), asked.judge, recipe, s) for n, a, s in wanted if (n, s) not in known]
    parent = judging.parent_weights(space, DATASET, None, RESOLUTION) if asked.judge in WANT_PARENT else None
    about: dict[str, Any] = {"space": "small", "judge": asked.judge, "recipe": asdict(recipe)}
    about |= {"device": judging.device(), "sensitivity": sensitivities(space, parent) if parent else None}

    def save() -> None:
        judging.save(asked.output, {"summary": summarised(trainings), **about, "trainings": sorted_by_name(trainings)})

    for done, (job, report) in enumerate(judging.run(jobs, asked.processes, DATASET, None, parent, RESOLUTION), 1):
        trainings.append(entry(job, report))
        if done % SAVED_EVERY == 0:
            save()
            print(f"{done} of {len(jobs)}", flush=True)
    save()
    print(json.dumps(summarised(trainings), indent=1))


if __name__ == "__main__":
    main()
