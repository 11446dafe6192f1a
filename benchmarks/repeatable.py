"""Is latency repeatable: ten architectures beside vanilla, twice alone, then with another process busy on every core.

python benchmarks/repeatable.py [--space spconv_layerwise] [--latency-on cpu] [--count 10]
                                [--output benchmarks/results/repeatable.json]

Aim: the ratios of the first and the second measurement agree within 3% (median) and 5% (worst), and those of the third
do so too, or say that they can't be trusted.
"""

import argparse
import json
import multiprocessing
import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.cost.latency import Meter, Reading
from nas.form import parse_form
from search_spaces import Architecture, load_space


@contextmanager
def busy_cores() -> Iterator[None]:
    """A process on every core that multiplies matrices, as a training does."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_work, daemon=True) for _ in range(os.cpu_count() or 1)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _work() -> None:
    torch.set_num_threads(1)
    a = torch.randn(1024, 1024)
    while True:
        a @ a


def measured(chosen: Sequence[Architecture], form: str) -> list[Reading]:
    """By a meter of its own, which chooses every layer's form anew."""
    meter = Meter(parse_form(form))
    backbone = chosen[0].backbone
    makes = [architecture.inference for architecture in chosen]
    return list(meter.networks(Architecture(backbone).inference, makes, backbone.shape))[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="spconv_layerwise")
    parser.add_argument("--latency-on", default="cpu")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--output", type=Path)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    space, rng = load_space(wanted.space), np.random.default_rng(0)
    rows = [[int(rng.integers(len(v.options))) for v in space.variables] for _ in range(wanted.count)]
    chosen = [space.architecture(row) for row in rows]
    found = {"first": measured(chosen, wanted.latency_on), "second": measured(chosen, wanted.latency_on)}
    with busy_cores():
        found["busy"] = measured(chosen, wanted.latency_on)
    for i, readings in enumerate(zip(*found.values(), strict=True)):
        shown = "  ".join(f"{r.ratio:.3f} ± {r.ratio * r.ratio_error:.3f} ({r.rounds})" for r in readings)
        print(f"{i}: {shown}  {readings[-1].doubt}", flush=True)
    summary = {name: differences(found["first"], found[name]) for name in ("second", "busy")}
    print(json.dumps(summary, indent=1))
    if wanted.output:
        document: dict[str, Any] = {"how": Meter(parse_form(wanted.latency_on)).how(), "differ": summary}
        document |= {name: [reading.to_dict() for reading in readings] for name, readings in found.items()}
        wanted.output.write_text(json.dumps(document, indent=1) + "\n")


def differences(first: Sequence[Reading], again: Sequence[Reading]) -> dict[str, Any]:
    """Of the ratios, as shares; and of how many the second says that they can't be trusted."""
    shares = [abs(b.ratio / a.ratio - 1) for a, b in zip(first, again, strict=True)]
    sure = [share for share, reading in zip(shares, again, strict=True) if not reading.doubt]
    return {
        "median": round(statistics.median(shares), 4),
        "worst": round(max(shares), 4),
        "worst_undoubted": round(max(sure), 4) if sure else None,
        "in_doubt_before": sum(bool(r.doubt) for r in first),
        "in_doubt": sum(bool(r.doubt) for r in again),
    }


if __name__ == "__main__":
    main()
