"""All that wants a GPU, in a few minutes and without Ray: gpu tests, proxies at full width, latency beside vanilla.

python benchmarks/gpu.py [--output benchmarks/results/gpu.json]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from nas.cost.latency import describe, time_models
from search_spaces import VANILLA, Choice, load_space, proxy_of
from trainers.data.digits_on_photos import load
from trainers.proxy import ProxyTraining
from trainers.recipe import Recipe

CHOICES = {
    "vanilla": VANILLA,
    **{f"SPConv α=1/{n} g=2": Choice.of("spconv", alpha=1 / n, groups=2) for n in (2, 4, 8)},
    **{f"CompConv C0={c0}": Choice.of("compconv", c0=c0) for c0 in (512, 128)},
}
ROUNDS = 20


def training(device: torch.device, width: float) -> dict[str, object]:
    """Images a second and the accuracy after a short training, for each setting."""
    space, data = load_space("mixed_layerwise"), load(None, 32).to(device)
    found: dict[str, object] = {}
    for name, choice in CHOICES.items():
        proxy, _ = proxy_of(space.uniform(choice), width=width, resolution=32, classes=10)
        torch.manual_seed(0)
        run = ProxyTraining(proxy.build(), data, Recipe(epochs=3, images_per_epoch=4096), 0)
        run.run_epoch()
        torch.cuda.synchronize()
        start = time.perf_counter()
        result = [run.run_epoch() for _ in range(2)][-1]
        seconds = time.perf_counter() - start
        found[name] = {"images_per_s": round(2 * 4096 / seconds), "accuracy_after_3_epochs": result.score.accuracy}
    return found


def latency(device: torch.device) -> dict[str, object]:
    """ResNet-50 at 224 pixels: milliseconds an image, each setting in turn with vanilla."""
    space = load_space("mixed_layerwise")
    networks = [space.uniform(choice).build() for choice in CHOICES.values()]
    timings = time_models(networks, (3, 224, 224), device, ROUNDS)
    vanilla = timings[0].median_ms
    return {
        name: {
            "ms": round(t.median_ms, 4),
            "spread_ms": round(t.spread_ms, 4),
            "of_vanilla": round(t.median_ms / vanilla, 3),
        }
        for name, t in zip(CHOICES, timings, strict=True)
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("this machine has no GPU that torch can use")
        return 2
    device = torch.device("cuda")
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-m", "gpu", "tests/trainers"], check=False
    ).returncode
    figures = {
        "gpu_tests": "passed" if tests == 0 else f"exit status {tests}",
        "latency": {**describe(device), "networks": latency(device)},
        **{f"training_at_width_{width:g}": training(device, width) for width in (1.0, 0.25)},
    }
    text = json.dumps(figures, indent=1, ensure_ascii=False)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    print(text)
    return tests


if __name__ == "__main__":
    sys.exit(main())
