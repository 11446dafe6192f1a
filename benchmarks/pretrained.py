"""Does a pretrained network keep its worth? A ResNet-18 of torchvision's, trained on the embedded data, and searched.

    python benchmarks/pretrained.py --output benchmarks/results/pretrained.json

Its weights are given to a search within 60% of its FLOPs. What that names is judged again under new seeds: from the
trained weights, by the fine-tuning that the judge gives; from nothing for as long; from nothing for as long as the
pretraining and the fine-tuning together; and the best uniform setting from the trained weights. Accuracies are those
of the test split, which no search sees.
"""

import argparse
import io
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import judging
import torch

from nas import search
from nas.budget import broken
from search_spaces import VANILLA, Architecture, Backbone, load_space
from trainers.data.base import ImageData
from trainers.data.digits_on_photos import load
from trainers.judges import JUDGES
from trainers.judges.base import Setting
from trainers.recipe import INHERITED, PARENT, Recipe
from trainers.report import Report

MODEL, SPACE, BUDGET, RESOLUTION = "torchvision:resnet18", "spconv_layerwise", "60%", 32
LONGER = replace(PARENT, epochs=PARENT.epochs + INHERITED.epochs)  # in images no less than both together


def judged(
    architecture: Architecture, judge: str, recipe: Recipe, seed: int, data: ImageData, parent: bytes | None = None
) -> Report:
    state = None if parent is None else torch.load(io.BytesIO(parent), weights_only=True)
    setting = Setting(data, recipe, 1.0, RESOLUTION, "cpu", 1, state, keeps_weights=parent is None)
    judging_it = JUDGES[judge](setting).begin(architecture.to_dict(), None, seed)
    report = judging_it.step()
    while not report.status.is_final:
        report = judging_it.step()
    return report


def summary(reports: list[Report]) -> dict[str, Any]:
    """Points of the test split."""
    points = [100 * (r.test_accuracy or 0.0) for r in reports]
    error = statistics.stdev(points) / len(points) ** 0.5 if len(points) > 1 else 0.0
    cpu_s = round(statistics.fmean(r.cpu_s or 0.0 for r in reports))
    return {"test": round(statistics.fmean(points), 2), "error": round(error, 2), "seeds": len(points), "cpu_s": cpu_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    data = load(None, RESOLUTION)
    vanilla = load_space(SPACE, Backbone(MODEL, 1000, RESOLUTION)).uniform(VANILLA)
    first = judged(vanilla, "scratch", PARENT, 0, data)
    assert first.weights is not None
    found: dict[str, Any] = {"vanilla, trained": summary([first])}
    print(json.dumps(found), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "resnet18.pt"
        weights.write_bytes(first.weights)
        options = {"trials": asked.trials, "final": 0, "repeats": 0, "resolution": RESOLUTION, "output": Path(folder)}
        outcome = search(SPACE, BUDGET, model=MODEL, weights=weights, name="run", **options)
    assert outcome.best is not None
    best, limits = outcome.best.built_architecture(), outcome.run.question.budget
    uniform = [r for r in outcome.references if r.finished and not broken(limits, r.costs)]
    rival = max(uniform, key=lambda r: r.accuracy or 0.0)
    ways = {
        "the winner, from the trained weights": (best, "inherited", INHERITED, first.weights),
        "the winner, from nothing, as long as that": (best, "scratch", INHERITED, None),
        "the winner, from nothing, as long as both": (best, "scratch", LONGER, None),
        f"the best uniform setting ({rival.name}), from the trained weights": (
            rival.built_architecture(),
            "inherited",
            INHERITED,
            first.weights,
        ),
    }
    costs = {"winner": outcome.best.costs["flops"], "uniform": rival.costs["flops"], "limit": limits[0].limit}
    for name, (architecture, judge, recipe, parent) in ways.items():
        reports = [judged(architecture, judge, recipe, 100 + seed, data, parent) for seed in range(asked.seeds)]
        found[name] = summary(reports)
        print(json.dumps({name: found[name]}), flush=True)
        if asked.output:
            document = {"device": judging.device(), "flops": costs, "winner": best.to_dict(), "test": found}
            asked.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
