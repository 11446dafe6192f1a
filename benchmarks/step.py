"""A training step of the proxy with each operator everywhere, in turn with vanilla's: what training costs more.

python benchmarks/step.py [--operators spconv compconv …] [--rounds 20] [--no-keep] [--profile spconv]
python benchmarks/step.py --cuda [--eager]
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.cost.device import describe
from nas.form import usual
from search_spaces import VANILLA, Choice, load_space, proxy_of
from trainers.data.digits_on_photos import load
from trainers.loop import is_fast
from trainers.memory import keep_freed_memory
from trainers.proxy import ProxyTraining
from trainers.recipe import SCRATCH

SPACE = "mixed_layerwise"
CHOICES = {  # uniform settings, wherever the space has them; the other layers stay vanilla
    "spconv": Choice.of("spconv", alpha=1 / 2, groups=2),
    "compconv": Choice.of("compconv", c0=128),
    "ghost": Choice.of("ghost", ratio=2),
    "hetconv": Choice.of("hetconv", p=4),
    "octconv": Choice.of("octconv", alpha=1 / 4),
    "grouped": Choice.of("grouped", groups=4),
    "grouped_shuffle": Choice.of("grouped_shuffle", groups=4),
    "depthwise_separable": Choice.of("depthwise_separable"),
    "pointwise": Choice.of("pointwise"),
    "selective_kernel": Choice.of("selective_kernel", groups=16),
}
WARM_UP = 5  # a recorded step is recorded by then
GPU_STEPS = 20  # of one timing, since the host runs ahead
DRAWS = 2000


@dataclass(frozen=True)
class Stepper:
    """Trains one network, a few steps at a time."""

    training: ProxyTraining
    steps: int

    def ms(self) -> float:
        """Of one step; on a CPU the processor's, which other processes lengthen least."""
        training, count = self.training, self.steps
        generator = torch.Generator(training.device).manual_seed(0)
        split = training.data.train[: count * training.recipe.batch]
        if training.device.type == "cpu":
            start = time.process_time()
            training.train(split, generator)
            return (time.process_time() - start) * 1e3 / count
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        training.train(split, generator)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / count


def stepper(choice: Choice, arguments: argparse.Namespace, device: torch.device) -> Stepper:
    """Of the proxy with ``choice`` everywhere, by the recipe of the judge ``scratch``, warmed up."""
    target = load_space(SPACE).uniform(choice)
    proxy, _ = proxy_of(target, width=arguments.width, resolution=arguments.resolution, classes=10)
    torch.manual_seed(0)
    data = load(None, arguments.resolution).to(device)
    recipe = replace(SCRATCH, epochs=10_000)  # which end no timing reaches
    made = Stepper(
        ProxyTraining(proxy.build(), data, recipe, 0, graph=not arguments.eager), GPU_STEPS if arguments.cuda else 1
    )
    for _ in range(WARM_UP):
        made.ms()
    return made


def figures(own: Sequence[float], vanilla: Sequence[float]) -> dict[str, Any]:
    """Of milliseconds that were taken in turn: quartiles, and the median ratio with its error (bootstrap)."""
    ratios = np.array(own) / np.array(vanilla)
    rng = np.random.default_rng(0)
    medians = np.median(ratios[rng.integers(0, len(ratios), (DRAWS, len(ratios)))], axis=1)
    return {
        "ms": quartiles(own),
        "vanilla_ms": quartiles(vanilla),
        "of_vanilla": round(float(np.median(ratios)), 3),
        "error": round(float(medians.std(ddof=1)), 3),
    }


def quartiles(values: Sequence[float]) -> list[float]:
    """The first, the median, the third."""
    return [round(float(v), 3) for v in np.quantile(values, [0.25, 0.5, 0.75])]


def measured(name: str, arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    both = [stepper(choice, arguments, device) for choice in (CHOICES[name], VANILLA)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    own, vanilla = zip(*([each.ms() for each in both] for _ in range(arguments.rounds)), strict=True)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    found = {
        **figures(own, vanilla),
        "page_faults": round(faults / 2 / arguments.rounds / both[0].steps) if before else None,
    }
    if arguments.cuda:
        captured = both[0].training.captured
        found["form"] = "eager" if captured is None else captured.why_not or "graph"
    return found


def profiled(name: str, arguments: argparse.Namespace, device: torch.device) -> None:
    """The operations that take most time by themselves, of a few steps with the operator and with vanilla."""
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if arguments.cuda else [])]
    key = "self_cuda_time_total" if arguments.cuda else "self_cpu_time_total"
    for title, choice in ((name, CHOICES[name]), ("vanilla", VANILLA)):
        each = stepper(choice, arguments, device)
        with torch.profiler.profile(activities=kinds) as profile:
            for _ in range(arguments.rounds):
                each.ms()
        print(f"\n{title}, {arguments.rounds * each.steps} steps")
        print(profile.key_averages().table(sort_by=key, row_limit=18, max_name_column_width=44))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operators", nargs="+", choices=CHOICES, default=list(CHOICES), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--resolution", type=int, default=24)
    parser.add_argument("--keep", action=argparse.BooleanOptionalAction, default=True, help="freed memory")
    parser.add_argument("--cuda", action="store_true")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--graph", action="store_false", dest="eager", help="the step as a CUDA graph: the default there")
    form.add_argument("--eager", action="store_true")
    parser.set_defaults(eager=False)
    parser.add_argument("--profile", choices=CHOICES, metavar="NAME")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kept = arguments.keep and keep_freed_memory()
    device = torch.device("cuda" if arguments.cuda else "cpu")
    if arguments.profile:
        profiled(arguments.profile, arguments, device)
        return 0
    found: dict[str, Any] = {}
    for name in arguments.operators:
        found[name] = measured(name, arguments, device)
        print(f"{name:20} {json.dumps(found[name])}", flush=True)
    if arguments.output:
        about = {n: describe(usual(device.type)).get(n) for n in ("device", "torch", "threads")}
        about |= {"dtype": "bfloat16" if is_fast(device) else "float32", "freed_memory_kept": kept}
        about |= {"width": arguments.width, "resolution": arguments.resolution, "batch": SCRATCH.batch}
        document = {**about, "space": SPACE, "choices": {n: str(CHOICES[n]) for n in found}, "steps": found}
        arguments.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
