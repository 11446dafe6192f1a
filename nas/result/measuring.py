"""Whole networks measured at a search's end: new ones beside vanilla; what was measured before stays as it is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from search_spaces import Architecture, Backbone
from search_spaces.backbones.foreign import OWN, Own, given
from search_spaces.checks import BadInput

from ..cost.device import device_name
from ..form import Form
from ..metrics import METRICS, Metric
from ..record import Record
from .measured import Measured

Readings = dict[str, dict[str, dict[str, Any]]]
Run = Callable[..., Any]
"""``(function, *arguments)`` → what it returns, run where the device is."""


def measured_too(
    before: Measured,
    records: Sequence[Record],
    backbone: Backbone,
    form: Form,
    run: Run,
    device: str = "",
    base: Mapping[str, float] | None = None,
) -> Measured:
    """What was measured before, and those of ``records`` that were not, measured now beside vanilla.

    Args:
        base: metric → vanilla's figure by which budgets were set; what was measured before comes first.

    Raises:
        BadInput: ``run`` runs where another ``device`` is.
    """
    vanilla = Architecture(backbone)
    missing = {r.key: r.built_architecture() for r in records if r.key not in before.networks and r.key != vanilla.key}
    if not missing and vanilla.key in before.networks:
        return before
    earlier = {metric: value for metric, (value, _) in before.networks.get(vanilla.key, {}).items()}
    known = given(backbone.name), form, vanilla, list(missing.values()), {**(base or {}), **earlier}
    found, how = run(read_networks, *known, METRICS, device)
    for metric, of_vanilla in before.details.get(vanilla.key, {}).items():
        if "doubt" in of_vanilla:  # its milliseconds are in all figures
            for of in found.values():
                of[metric].setdefault("doubt", f"vanilla: {of_vanilla['doubt']}")
    details = {**found, **before.details}
    figures = {key: {m: (r["ms"], r["error"]) for m, r in of.items()} for key, of in found.items()}
    return Measured({**figures, **before.networks}, {**how, **before.how}, details)


def read_networks(
    models: Mapping[str, Own],
    form: Form,
    vanilla: Architecture,
    others: Sequence[Architecture],
    base: Mapping[str, float],
    metrics: Mapping[str, Metric] = METRICS,
    device: str = "",
) -> tuple[Readings, dict[str, Any]]:
    """By architecture key and metric, and how: in each metric whose sums only predict, vanilla first.

    Args:
        base: metric → vanilla's figure, where it is known from before.
        device: by its name, the only one whose figures are wanted.

    Raises:
        BadInput: another device is here.
    """
    others = list({a.key: a for a in others if a.key != vanilla.key}.values())  # vanilla is measured alone
    if device and (here := device_name(form.device)) != device:
        raise BadInput(f"latency is that of {device}, found was {here}")
    OWN.update(models)
    torch.set_num_threads(1)
    found: Readings = {a.key: {} for a in (vanilla, *others)}
    how: dict[str, Any] = {}
    for name, metric in metrics.items():
        if metric.meter is None:
            continue
        meter = metric.meter(form)
        makes = [architecture.inference for architecture in others]
        readings = meter.networks(vanilla.inference, makes, vanilla.backbone.shape, base_ms=base.get(name))
        for key, reading in zip(found, readings, strict=True):
            found[key][name] = reading.to_dict()
        said = meter.how()
        for of in found.values():
            of[name] |= {"how": said}  # a resume may find other versions than the first leg
        how |= said
    return found, how
