"""The cost table: slot × choice, measured once and cached. Its sums replace tracing a network.

FLOPs and params of its sums equal fvcore's count of the whole network exactly; latency is the sum of layers timed one
by one, a prediction of the whole network's.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import search_spaces
from search_spaces import VANILLA, Architecture, Backbone, Choice, Slot, Space
from search_spaces.folding import normalised
from search_spaces.space import fingerprint
from trainers.whole_file import write_whole

from ..metrics import METRICS, Metric
from .latency import describe

Shape = tuple[int, int, int]
Costs = dict[str, float]


@dataclass(frozen=True)
class CostTable:
    """``rest``: what no slot decides, by metric. ``slots``: slot → choice → cost by metric. ``device``: latency's."""

    rest: Costs
    slots: Mapping[str, Mapping[Choice, Costs]]
    device: str

    def total(self, architecture: Architecture) -> Costs:
        """All metrics of an architecture of the table's space."""
        entries = [self.slots[slot][choice] for slot, choice in architecture.layers]
        return {metric: self.rest[metric] + sum(entry[metric] for entry in entries) for metric in self.rest}

    def options(self, space: Space, metric: str) -> list[NDArray[np.float64]]:
        """The costs of each variable's options: ``variables`` arrays of ``(options,)``."""
        return [
            np.array(
                [sum(self.slots[s][c][metric] for s, c in zip(v.slots, o.choices, strict=True)) for o in v.options]
            )
            for v in space.variables
        ]

    def ends(self, space: Space, metric: str) -> tuple[float, float]:
        """What the cheapest and the dearest architecture of the space cost."""
        options, rest = self.options(space, metric), self.rest[metric]
        return rest + sum(float(c.min()) for c in options), rest + sum(float(c.max()) for c in options)

    def totals(self, space: Space, metric: str, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Costs of many architectures at once: option indices ``(n, variables)`` → ``(n,)``."""
        columns = [column[indices[:, i]] for i, column in enumerate(self.options(space, metric))]
        return np.sum(columns, axis=0) + self.rest[metric]


def measure(
    space: Space, device: torch.device, progress: Callable[[str], None], metrics: Mapping[str, Metric] = METRICS
) -> CostTable:
    """Measure every choice of every slot, in every metric."""
    shapes, has_bn = _surroundings(space.backbone)
    wanted: dict[str, list[Choice]] = {name: [VANILLA] for name in space.slots}
    for variable in space.variables:
        for option in variable.options:
            for slot, choice in zip(variable.slots, option.choices, strict=True):
                wanted[slot].append(choice)
    alike: dict[tuple[object, ...], Costs] = {}
    slots: dict[str, dict[Choice, Costs]] = {}
    for i, (name, choices) in enumerate(wanted.items()):
        progress(f"measuring the cost of every choice: slot {i + 1} of {len(wanted)}, {name}")
        slots[name] = {}
        for choice in dict.fromkeys(choices):
            signature = (*list(asdict(space.slots[name]).values())[1:], shapes[name], has_bn[name], choice)
            if signature not in alike:
                layer = _layer(space.slots[name], choice, has_bn[name])
                alike[signature] = {m: kind.cost(layer, shapes[name], device) for m, kind in metrics.items()}
            slots[name][choice] = alike[signature]
    network = Architecture(space.backbone).inference()
    vanilla = {m: kind.cost(network, space.backbone.shape, device) for m, kind in metrics.items()}
    rest = {m: vanilla[m] - sum(choices[VANILLA][m] for choices in slots.values()) for m in metrics}
    return CostTable(rest, slots, str(describe(device)["device"]))


def build_table(
    space: Space,
    device: torch.device,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
    how: Callable[[Space, torch.device, Callable[[str], None]], CostTable] = measure,
) -> CostTable:
    """Measure every choice of every slot, or read it from ``cache`` (a folder), where the same was measured before.

    Args:
        how: what measures; ``apart.measure_apart`` does it in a process of its own.
    """
    key = _cache_key(space, device)
    file = None if cache is None else cache / f"costs-{space.name}-{key}.json"
    if file is not None and (found := _cached(file)) is not None:
        return found  # absent or damaged it is measured again
    table = how(space, device, progress)
    if file is not None:
        with suppress(OSError):  # a folder that can't be written has no cache
            write_whole(file, json.dumps(table_to_document(table)).encode())
    return table


def _layer(slot: Slot, choice: Choice, has_bn: bool) -> nn.Module:
    """One choice with the network's BatchNorm behind it, which some operators absorb and others do not."""
    operator = choice.build(slot)
    return nn.Sequential(operator, nn.BatchNorm2d(slot.out_channels)) if has_bn else nn.Sequential(operator)


def _surroundings(backbone: Backbone) -> tuple[dict[str, Shape], dict[str, bool]]:
    """Each slot's input shape (C, H, W), and whether a BatchNorm reads its output alone."""
    with torch.device("cpu" if backbone.is_foreign else "meta"), torch.no_grad():
        model = backbone.build().eval()
        behind = normalised(model)
        shapes: dict[str, Shape] = {}

        def note(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
            def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
                _, channels, height, width = inputs[0].shape
                shapes[name] = (channels, height, width)

            return hook

        slots = search_spaces.find_slots(model)
        for name in slots:
            model.get_submodule(name).register_forward_pre_hook(note(name))
        model(torch.zeros(1, *backbone.shape))
    return shapes, {name: name in behind for name in slots}


def _cache_key(space: Space, device: torch.device) -> str:
    """Changes with the space, the operators' own code, the libraries and the device."""
    digest = hashlib.sha256()
    digest.update(repr((space.backbone, fingerprint(space.backbone), space.variables)).encode())
    for folder in (Path(search_spaces.__file__).parent, Path(__file__).parent):
        for source in sorted(folder.rglob("*.py")):
            digest.update(source.read_bytes())
    digest.update(json.dumps([describe(device), version("fvcore"), list(METRICS)], sort_keys=True).encode())
    return digest.hexdigest()[:12]


def table_to_document(table: CostTable) -> dict[str, Any]:
    """Plain values, for JSON."""
    slots = {slot: [[c.to_dict(), costs] for c, costs in choices.items()] for slot, choices in table.slots.items()}
    return {"rest": table.rest, "slots": slots, "device": table.device}


def table_from(document: Mapping[str, Any]) -> CostTable | None:
    """What ``table_to_document`` gave; ``None`` if it is damaged, or lacks a metric of today."""
    try:
        slots = {s: {Choice.from_dict(c): costs for c, costs in entries} for s, entries in document["slots"].items()}
        table = CostTable(document["rest"], slots, document["device"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return table if set(METRICS) <= set(table.rest) else None


def _cached(file: Path) -> CostTable | None:
    try:
        return table_from(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
