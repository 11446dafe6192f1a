"""The cost table: slot × choice, measured once and cached. Its sums replace tracing a network.

FLOPs and params of its sums equal fvcore's count of the whole network exactly. Latency is predicted: each layer is
timed beside vanilla's in its place, what they sum up to is put right by some whole networks, and the error that is left
is kept beside it.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

import search_spaces
from search_spaces import VANILLA, Architecture, Choice, Slot, Space
from search_spaces.space import fingerprint
from trainers.whole_file import write_whole

from ..form import Form
from ..metrics import METRICS, Metric
from .device import describe, device_name
from .surroundings import Place, places

WHOLE, WHOLE_S = 7, 60.0  # networks by which a table is put right, and seconds that timing them may take
LEAN = 3.0  # how much a network leans to cheap or dear options, in their standard deviations
SLOPE_PRIOR = 0.02  # the predicted difference, as a share of vanilla's, below which the slope stays near 1
SLOPES = (0.25, 2.0)
LEAST_SHARE = 0.05  # of vanilla's: no layer costs less
MOST_DOUBTED = 0.1  # of all layers
Costs = dict[str, float]


@dataclass(frozen=True)
class Prediction:
    """How well sums over layers predict what is measured of whole networks.

    Args:
        slope: what the sums' differences to vanilla were multiplied by, to agree with whole networks.
        error: the standard deviation of a whole network's from its prediction, as a share of itself.
        networks: on which both are known.
        doubt: why the measurements can't be trusted; empty where they can.
    """

    slope: float = 1.0
    error: float = 0.0
    networks: int = 0
    doubt: str = ""

    @property
    def in_words(self) -> str:
        """``predicted to ± 3.1%, by 7 whole networks``, and the doubt if there is one."""
        said = f"predicted to ± {self.error:.1%}, by {self.networks} whole networks"
        return f"{said}; can't be trusted: {self.doubt}" if self.doubt else said


@dataclass(frozen=True)
class CostTable:
    """What every choice of every slot costs.

    Args:
        rest: what no slot decides, by metric.
        slots: slot → choice → cost by metric.
        device: on which what is measured was measured; ``latency_on`` is the form.
        predictions: of the metrics that are measured.
    """

    rest: Costs
    slots: Mapping[str, Mapping[Choice, Costs]]
    device: str
    latency_on: str = ""
    predictions: Mapping[str, Prediction] = field(default_factory=dict)

    @property
    def resolutions(self) -> dict[str, float]:
        """Metric → the relative difference that is none: below what could be noticed, or what two predictions err."""
        errors = {name: math.sqrt(2) * found.error for name, found in self.predictions.items()}
        return {name: max(METRICS[name].resolution, errors.get(name, 0.0)) for name in self.rest if name in METRICS}

    @property
    def doubts(self) -> dict[str, str]:
        """Metric → why its figures can't be trusted."""
        return {name: found.doubt for name, found in self.predictions.items() if found.doubt}

    @property
    def base(self) -> Costs:
        """Measured metric → vanilla's figure, of which ratios are taken; without those that can't be trusted."""
        of = {n: sum(choices[VANILLA][n] for choices in self.slots.values()) for n in self.predictions}
        return {n: self.rest[n] + of[n] for n in self.predictions if n not in self.doubts}

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
    space: Space, form: Form, progress: Callable[[str], None], metrics: Mapping[str, Metric] = METRICS
) -> CostTable:
    """Measure every choice of every slot, in every metric."""
    where = places(space.backbone)
    meters = {name: metric.meter(form) for name, metric in metrics.items() if metric.meter is not None}
    layers = _Layers(space, where, metrics, meters)
    slots: dict[str, dict[Choice, Costs]] = {}
    wanted = _wanted(space)
    for i, (name, choices) in enumerate(wanted.items()):
        progress(f"measuring the cost of every choice: slot {i + 1} of {len(wanted)}, {name}")
        slots[name] = {choice: layers.costs(name, choice) for choice in choices}
    network, shape = Architecture(space.backbone).inference(), space.backbone.shape
    vanilla = {m: kind.cost(network, shape) for m, kind in metrics.items() if kind.cost is not None}
    rest = {m: vanilla[m] - sum(choices[VANILLA][m] for choices in slots.values()) for m in vanilla}
    table = CostTable(rest, slots, device_name(form.device), str(form))
    for name, meter in meters.items():
        progress("measuring whole networks, by which the costs of layers are put right")
        table = predicting(table, name, meter, space, layers.doubt(name))
    return table


def build_table(
    space: Space,
    form: Form,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
    how: Callable[[Space, Form, Callable[[str], None]], CostTable] = measure,
    again: bool = False,
) -> CostTable:
    """Measure every choice of every slot, or read it from ``cache`` (a folder), where the same was measured before.

    A table whose measurements are in doubt is not kept.

    Args:
        form: in which latency is measured.
        how: what measures; ``apart.measure_apart`` does it in a process of its own.
        again: measure, whatever is kept.
    """
    file = None if cache is None else cached_file(cache, space, form)
    if file is not None and not again and (found := _cached(file)) is not None:
        return found  # absent or damaged it is measured again
    table = how(space, form, progress)
    if file is not None and not table.doubts:
        with suppress(OSError):  # a folder that can't be written has no cache
            write_whole(file, json.dumps(table_to_document(table)).encode())
    return table


def cached_file(cache: Path, space: Space, form: Form) -> Path:
    """Where in ``cache`` its table is: another one for other operators, libraries and devices."""
    return cache / f"costs-{space.name}-{_cache_key(space, form)}.json"


def _wanted(space: Space) -> dict[str, list[Choice]]:
    """Slot → the choices that are to be measured, vanilla first."""
    wanted: dict[str, dict[Choice, None]] = {name: {VANILLA: None} for name in space.slots}
    for variable in space.variables:
        for option in variable.options:
            for slot, choice in zip(variable.slots, option.choices, strict=True):
                wanted[slot][choice] = None
    return {name: list(choices) for name, choices in wanted.items()}


class _Layers:
    """The costs of one choice in one slot; what is alike is measured once."""

    def __init__(
        self, space: Space, where: Mapping[str, Place], metrics: Mapping[str, Metric], meters: Mapping[str, Any]
    ) -> None:
        self.space, self.where, self.metrics, self.meters = space, where, metrics, meters
        self.alike: dict[tuple[object, ...], Costs] = {}
        self.vanilla: dict[str, nn.Module] = {}
        self.doubts: dict[str, list[str]] = {name: [] for name in meters}

    def costs(self, name: str, choice: Choice) -> Costs:
        """Of what is measured: vanilla's cost in its place, times the ratio to it."""
        slot, place = self.space.slots[name], self.where[name]
        key = (*list(asdict(slot).values())[1:], place, choice)
        if key not in self.alike:
            layer, shape = _layer(slot, choice, place.has_bn), place.shape
            found = {m: kind.cost(layer, shape) for m, kind in self.metrics.items() if kind.cost is not None}
            self.alike[key] = {**found, **{m: self._measured(m, name, choice, layer) for m in self.meters}}
        return self.alike[key]

    def _measured(self, metric: str, name: str, choice: Choice, layer: nn.Module) -> float:
        place = self.where[name]
        if name not in self.vanilla:
            self.vanilla = {name: _layer(self.space.slots[name], VANILLA, place.has_bn)}
        vanilla = self.vanilla[name]
        timing = self.meters[metric].layer(layer, vanilla, place.shape)
        self.doubts[metric].append(timing.doubt)
        return timing.ms if choice == VANILLA else timing.ratio * self.costs(name, VANILLA)[metric]

    def doubt(self, metric: str) -> str:
        """Of all together: where more than a few layers are in doubt, the reason that was given most."""
        said = [doubt for doubt in self.doubts[metric] if doubt]
        if len(said) <= MOST_DOUBTED * len(self.doubts[metric]):
            return ""
        kind = Counter(_kind(doubt) for doubt in said).most_common(1)[0][0]
        example = next(doubt for doubt in said if _kind(doubt) == kind)
        return f"{len(said)} of {len(self.doubts[metric])} layers: {example}"


def _kind(doubt: str) -> str:
    """Without its numbers."""
    return "".join(c for c in doubt if not c.isdigit())


def predicting(table: CostTable, name: str, meter: Any, space: Space, doubt: str = "") -> CostTable:
    """With a measured metric put right by whole networks: vanilla, and some that are spread over what is reachable."""
    chosen = spread_out(table, name, space)
    makes = [architecture.inference for architecture in chosen]
    readings = list(meter.networks(Architecture(space.backbone).inference, makes, space.backbone.shape, WHOLE_S))
    vanilla, measured = readings[0].ms, [reading.ms for reading in readings[1:]]
    of_layers = sum(choices[VANILLA][name] for choices in table.slots.values())
    sums = [sum(table.slots[s][c][name] for s, c in a.layers) for a in chosen]
    slope, error = fitted_slope([s - of_layers for s in sums], [m - vanilla for m in measured], vanilla)
    slots = {slot: _put_right(choices, name, slope) for slot, choices in table.slots.items()}
    doubts = [doubt, *(f"whole networks: {reading.doubt}" for reading in readings if reading.doubt)]
    said = next((text for text in doubts if text), "")
    prediction = Prediction(slope, error, len(chosen), said)
    rest = {**table.rest, name: vanilla - of_layers}
    return replace(table, rest=rest, slots=slots, predictions={**table.predictions, name: prediction})


def _put_right(choices: Mapping[Choice, Costs], name: str, slope: float) -> dict[Choice, Costs]:
    """A slot's costs that differ from vanilla's ``slope`` times as much, and stay above nothing."""
    vanilla = choices[VANILLA][name]
    right = {c: max(vanilla + slope * (costs[name] - vanilla), LEAST_SHARE * vanilla) for c, costs in choices.items()}
    return {choice: {**costs, name: right[choice]} for choice, costs in choices.items()}


def spread_out(table: CostTable, name: str, space: Space, count: int = WHOLE, seed: int = 0) -> list[Architecture]:
    """Architectures whose predicted cost goes from the least to the most: random ones, each leaning to one side."""
    rng = np.random.default_rng(seed)
    found, options = dict[str, Architecture](), table.options(space, name)
    for lean in np.linspace(-LEAN, LEAN, count):
        scores = [lean * _standard(column) + rng.gumbel(size=len(column)) for column in options]
        architecture = space.architecture([int(score.argmax()) for score in scores])
        found[architecture.key] = architecture
    return list(found.values())


def _standard(column: NDArray[np.float64]) -> NDArray[np.float64]:
    deviation = column.std()
    return np.zeros_like(column) if deviation == 0 else (column - column.mean()) / deviation


def fitted_slope(sums: Sequence[float], measured: Sequence[float], vanilla: float) -> tuple[float, float]:
    """Of differences to vanilla: what predicted ones are to be multiplied by, and the error that is left.

    The slope leans to 1 where there is little to learn from. The error is the standard deviation of each that was left
    out from what the others predict, as a share of what was measured of it.
    """
    x, y = np.array(sums) / vanilla, np.array(measured) / vanilla

    def slope(which: NDArray[np.bool_]) -> float:
        prior = SLOPE_PRIOR**2
        found = (float((x * y)[which].sum()) + prior) / (float((x * x)[which].sum()) + prior)
        return min(max(found, SLOPES[0]), SLOPES[1])

    everyone = np.ones(len(x), bool)
    others = [everyone & (np.arange(len(x)) != i) for i in range(len(x))]
    left = [(y[i] - slope(others[i]) * x[i]) / (1 + y[i]) for i in range(len(x))]
    error = float(np.sqrt(np.mean(np.square(left)))) if left else 0.0
    return slope(everyone), error


def _layer(slot: Slot, choice: Choice, has_bn: bool) -> nn.Module:
    """One choice with the network's BatchNorm behind it, which some operators absorb and others do not."""
    operator = choice.build(slot)
    return nn.Sequential(operator, nn.BatchNorm2d(slot.out_channels)) if has_bn else nn.Sequential(operator)


def _cache_key(space: Space, form: Form) -> str:
    digest = hashlib.sha256()
    digest.update(repr((space.backbone, fingerprint(space.backbone), space.variables)).encode())
    for folder in (Path(search_spaces.__file__).parent, Path(__file__).parent):
        for source in sorted(folder.rglob("*.py")):
            digest.update(source.read_bytes())
    digest.update(json.dumps([describe(form), version("fvcore"), list(METRICS)], sort_keys=True).encode())
    return digest.hexdigest()[:12]


def table_to_document(table: CostTable) -> dict[str, Any]:
    """Plain values, for JSON."""
    slots = {slot: [[c.to_dict(), costs] for c, costs in choices.items()] for slot, choices in table.slots.items()}
    predictions = {name: asdict(found) for name, found in table.predictions.items()}
    said = {"device": table.device, "latency_on": table.latency_on, "predictions": predictions}
    return {"rest": table.rest, "slots": slots, **said}


def table_from(document: Mapping[str, Any]) -> CostTable | None:
    """What ``table_to_document`` gave; ``None`` if it is damaged, or lacks a metric of today."""
    try:
        slots = {s: {Choice.from_dict(c): costs for c, costs in entries} for s, entries in document["slots"].items()}
        predictions = {name: Prediction(**found) for name, found in document.get("predictions", {}).items()}
        latency_on = document.get("latency_on", "")
        table = CostTable(document["rest"], slots, document["device"], latency_on, predictions)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return table if set(METRICS) <= set(table.rest) else None


def _cached(file: Path) -> CostTable | None:
    try:
        return table_from(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
