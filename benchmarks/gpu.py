"""All that wants a GPU, in a few minutes and without Ray: gpu tests, deployed networks, proxies' training.

python benchmarks/gpu.py [--parts tests deployed training] [--forms cuda:fp16:b64 cuda:bf16:b1]
                         [--output benchmarks/results/gpu.json]

Latencies are those of ``deployed.py``; the training is the proxy's, with its step as a CUDA graph and without.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from deployed import FEW, SETTINGS, measured, show

from nas.form import parse_form
from search_spaces import load_space, proxy_of
from trainers.data.digits_on_photos import load
from trainers.proxy import ProxyTraining
from trainers.recipe import Recipe

PARTS = ("tests", "deployed", "training")
TESTED = [str(path) for path in Path("tests").rglob("*.py") if "pytest.mark.gpu" in path.read_text(encoding="utf-8")]


def training(device: torch.device, width: float) -> dict[str, object]:
    """Images a second and the accuracy after a short training, for each setting."""
    space, data = load_space("mixed_layerwise"), load(None, 32).to(device)
    found: dict[str, object] = {}
    for name in FEW:
        proxy, _ = proxy_of(space.uniform(SETTINGS[name]), width=width, resolution=32, classes=10)
        torch.manual_seed(0)
        run = ProxyTraining(proxy.build(), data, Recipe(epochs=3, images_per_epoch=4096), 0)
        run.run_epoch()
        torch.cuda.synchronize()
        start = time.perf_counter()
        result = [run.run_epoch() for _ in range(2)][-1]
        seconds = time.perf_counter() - start
        found[name] = {"images_per_s": round(2 * 4096 / seconds), "accuracy_after_3_epochs": result.score.accuracy}
        print(f"width {width:g}, {name}: {found[name]}", flush=True)
    return found


def tests() -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-m", "gpu", *TESTED]
    status = subprocess.run(command, check=False).returncode
    return "passed" if status == 0 else f"exit status {status}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--forms", nargs="+", default=["cuda:fp16:b64", "cuda:bf16:b1"])
    parser.add_argument("--output", type=Path)
    wanted = parser.parse_args()
    if not torch.cuda.is_available():
        print("this machine has no GPU that torch can use")
        return 2
    torch.backends.cudnn.benchmark = True
    figures: dict[str, Any] = {"device": torch.cuda.get_device_name()}

    def keep() -> None:
        """After each part: the machine may be taken away."""
        if wanted.output:
            wanted.output.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")

    for form in map(parse_form, wanted.forms if "deployed" in wanted.parts else ()):
        figures[str(form)] = found = measured(form, most_s=40.0)
        show(form, found)
        print(*found["forms"], sep="\n", flush=True)
        keep()
    if "training" in wanted.parts:
        figures |= {f"training_at_width_{w:g}": training(torch.device("cuda"), w) for w in (1.0, 0.25)}
        keep()
    if "tests" in wanted.parts:
        figures["gpu_tests"] = tests()
        print("gpu tests:", figures["gpu_tests"])
        keep()
    return 0 if figures.get("gpu_tests", "passed") == "passed" else 1


if __name__ == "__main__":
    sys.exit(main())
