"""How well the table predicts whole networks' latency: random architectures, each measured beside vanilla.

python benchmarks/predicted.py [--space spconv_layerwise] [--latency-on cpu] [--count 50] [--spread]
                               [--output benchmarks/results/predicted.json]

Aim: within 10% for at least 95% of 50, rank correlation of 0.95. Uniform draws of a space differ by little, so that
ranks are noise; ``--spread`` draws each leaning to cheap or dear options, as proposals along the front do.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from nas.cost.apart import measure_apart
from nas.cost.latency import Meter
from nas.cost.table import build_table, spread_out
from nas.form import parse_form
from search_spaces import VANILLA, Architecture, load_space


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="spconv_layerwise")
    parser.add_argument("--latency-on", default="cpu")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--spread", action="store_true")
    parser.add_argument("--seconds", type=float, default=300.0, help="for all networks")
    parser.add_argument("--output", type=Path)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    space, form, rng = load_space(wanted.space), parse_form(wanted.latency_on), np.random.default_rng(1)
    start = time.perf_counter()
    table = build_table(space, form, Path("results/.cache"), lambda text: None, measure_apart)
    took = time.perf_counter() - start
    if wanted.spread:
        chosen = spread_out(table, "latency_ms", space, wanted.count, seed=1)
    else:
        rows = [[int(rng.integers(len(v.options))) for v in space.variables] for _ in range(wanted.count)]
        chosen = [space.architecture(row) for row in rows]
    meter, vanilla = Meter(form), Architecture(space.backbone)
    makes = [architecture.inference for architecture in chosen]
    readings = list(meter.networks(vanilla.inference, makes, space.backbone.shape, wanted.seconds))
    base = table.total(space.uniform(VANILLA))["latency_ms"]
    predicted = np.array([table.total(a)["latency_ms"] / base for a in chosen])
    measured = np.array([reading.ratio for reading in readings[1:]])
    errors = predicted / measured - 1
    summary: dict[str, Any] = {
        "within_10%": float(np.mean(np.abs(errors) <= 0.1)),
        "rank_correlation": float(spearmanr(predicted, measured).statistic),
        "error_std": float(errors.std()),
        "bias": float(errors.mean()),
        "worst": float(np.abs(errors).max()),
        "measured_from_to": [float(measured.min()), float(measured.max())],
        "measured_error": float(np.median([r.ratio_error for r in readings[1:]])),
        "in_doubt": sum(bool(r.doubt) for r in readings),
        "table": {**vars(table.predictions["latency_ms"]), "seconds": round(took, 1)},
    }
    print(json.dumps(summary, indent=1))
    if wanted.output:
        pairs = [[float(p), float(m)] for p, m in zip(predicted, measured, strict=True)]
        document = {"how": meter.how(), "space": space.name, **summary, "predicted_and_measured": pairs}
        wanted.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
