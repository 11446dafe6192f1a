"""Networks that are not ours, each searched, trained, exported, and counted again: does all of it work on them?

    python benchmarks/foreign.py --output benchmarks/results/foreign.json [--network timm:resnet10t …]

A search of a few short trials within 75% of the FLOPs, a short full training of what it names, on images of a folder
made from the embedded data, and the ONNX file beside torch. Accuracies say that it learns, and no more.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import judging
import torch
from PIL import Image
from torch import nn

from nas import search
from nas.cost.flops import count_flops
from nas.export.deployed import deployed, sample
from nas.export.onnx import agreement, write_onnx
from search_spaces import load_architecture
from search_spaces.backbones import foreign
from trainers.data.digits_on_photos import load
from trainers.full.data import load as load_full

NETWORKS = (
    *("torchvision:resnet18", "torchvision:squeezenet1_1", "torchvision:googlenet"),
    *("timm:resnet10t", "timm:skresnet18", "timm:dla34"),
    "foreign:make",
)
RESOLUTION, TRAINED, TESTED = 32, 1280, 512


class Own(nn.Module):
    """As a user's own package would have it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (3, 32, 64, 64, 128)
        self.body = nn.Sequential(*(self.block(a, b) for a, b in pairwise(widths)))
        self.head = nn.Linear(widths[-1], classes)

    @staticmethod
    def block(w_in: int, w_out: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(w_in, w_out, 3, 2 - w_in % 2, 1), nn.BatchNorm2d(w_out), nn.SiLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


def make(num_classes: int = 10) -> nn.Module:
    return Own(num_classes)


def folder_of_images(root: Path) -> Path:
    """Some of the embedded images, in classes."""
    data = load(None, RESOLUTION)
    for part, split, count in (("train", data.train, TRAINED), ("val", data.test, TESTED)):
        for i, (image, label) in enumerate(zip(split.images[:count], split.labels[:count].tolist(), strict=True)):
            place = root / part / str(label)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{i}.png")
    return root


def measured(name: str, images: Path, output: Path) -> dict[str, Any]:
    """What happened to one network."""
    start = time.perf_counter()
    own = foreign.is_own(name)
    outcome = search(
        "mixed_layerwise" if own else "compconv_layerwise",
        "75%",
        model=name,
        resolution=64,
        trials=3,
        epochs=2,
        final=0,
        repeats=0,
        references=False,
        output=output,
        name="run",
    )
    assert outcome.best is not None
    path = output / "run" / "best.yaml"
    architecture = load_architecture(path)
    recounted = count_flops(architecture.build(), (1, 3, 64, 64))
    words = ["--data-root", images, "--dataset", "imagefolder", "--resolution", RESOLUTION, "--epochs", 3]
    words += ["--batch", 64, "--lr", 0.02, *(["--model", name] if own else [])]
    command = [sys.executable, "-m", "trainers.full", path, *words]
    here = Path(__file__).resolve().parent
    paths = os.pathsep.join(map(str, (here, here.parent)))
    subprocess.run(list(map(str, command)), check=True, env={**os.environ, "PYTHONPATH": paths})
    trained = path.parent / "full-best"
    made = deployed(load_architecture(trained / "trained.yaml"), trained / "best.safetensors")
    nodes = write_onnx(made, output / "net.onnx")
    data = load_full("imagefolder", images, RESOLUTION, all_images=False)
    found = agreement(output / "net.onnx", made.network, *sample(data, data.test))
    return {
        "network": name,
        "slots": len(architecture.layers),
        "flops": outcome.best.costs["flops"],
        "share_of_vanilla": round(outcome.best.costs["flops"] / _vanilla(outcome), 3),
        "recounted_by_fvcore": recounted,
        "proxy_accuracy": outcome.best.accuracy,
        "full_top1": found.accuracy,
        "onnx_nodes": sum(nodes.values()),
        "onnx_difference": found.difference,
        "onnx_alike": found.alike,
        "seconds": round(time.perf_counter() - start),
    }


def _vanilla(outcome: Any) -> float:
    """``75% (123 MFLOPs)`` → the whole."""
    return float(outcome.run.question.budget[0].limit) / 0.75


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", default=list(NETWORKS))
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        images = folder_of_images(Path(folder) / "images")
        for i, name in enumerate(asked.network):
            rows.append(measured(name, images, Path(folder) / str(i)))
            print(json.dumps(rows[-1]))
            if asked.output:
                asked.output.write_text(json.dumps({"device": judging.device(), "networks": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
