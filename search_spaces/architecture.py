"""Architectures: slot → choice for a whole network; frozen, hashable, and a YAML round trip."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .backbones import BACKBONES, foreign
from .catalogue import read_yaml
from .checks import BadInput, expanded, require_known
from .late import Late
from .slots import VANILLA, Choice, convert, find_slots

_detector_on = Late("search_spaces.detectors", "detector_on")  # torchvision's detectors are seldom wanted
SECTIONS = ("space", "backbone", "layers", "metrics", "budget", "training", "provenance")


@dataclass(frozen=True)
class Backbone:
    """A network by name: one of ours, of torchvision's or timm's, or of the user's own code (``backbones.foreign``).

    ``width`` scales all channels, of ours alone; ``resolution`` is the input's height and width in pixels.
    """

    name: str
    classes: int
    resolution: int
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.is_foreign:
            foreign.require_there(self.name)
        else:
            require_known("backbone", self.name, BACKBONES)
        sizes = (self.classes, self.resolution, self.width)
        if not all(0 < size < math.inf for size in sizes):
            raise BadInput(f"a backbone's classes, resolution and width must be numbers above 0, got {self}")
        if self.is_foreign and self.width != 1:
            raise BadInput(f"the channels of {self.name} can't be scaled: its width must be 1, got {self.width}")

    @classmethod
    def from_dict(cls, entry: object) -> "Backbone":
        """Missing entries other than ``name`` are refused, unknown ones too."""
        if not isinstance(entry, Mapping) or not {"name", "classes", "resolution"} <= set(entry):
            raise BadInput(f"backbone needs name, classes and resolution, got {entry!r}")
        for key in entry:
            require_known("key in backbone", key, cls.__dataclass_fields__)
        kinds_of: dict[str, tuple[type, ...]] = {"classes": (int,), "resolution": (int,), "width": (int, float)}
        for key, kinds in kinds_of.items():
            if key in entry and (isinstance(entry[key], bool) or not isinstance(entry[key], kinds)):
                raise BadInput(f"backbone: {key} must be a number, got {entry[key]!r}")
        return cls(**entry)

    @property
    def is_foreign(self) -> bool:
        """Whether it is none of ours."""
        return foreign.is_foreign(self.name)

    def build(self) -> nn.Module:
        if self.is_foreign:
            return foreign.build_foreign(self.name, self.classes, self.resolution)
        return BACKBONES[self.name](classes=self.classes, width=self.width, resolution=self.resolution)

    def to_dict(self) -> dict[str, object]:
        """As an architecture's YAML has it."""
        return {n: getattr(self, n) for n in ("name", "classes", "resolution", "width")}


@dataclass(frozen=True)
class Architecture:
    """A backbone and the choice for each of its searched slots, in the network's order; the others stay vanilla."""

    backbone: Backbone
    layers: tuple[tuple[str, Choice], ...] = ()

    @property
    def key(self) -> str:
        """A hash of what is built, the same on every machine: vanilla layers count as absent."""
        layers = {slot: choice.to_dict() for slot, choice in self.layers if choice != VANILLA}
        text = json.dumps([self.backbone.to_dict(), layers], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def build(self) -> nn.Module:
        """The network, freshly initialised; a ValueError names the slot that a choice does not fit."""
        return convert(self.backbone.build(), dict(self.layers))

    def to_dict(self) -> dict[str, object]:
        """The ``backbone`` and ``layers`` sections of an architecture YAML."""
        return {"backbone": self.backbone.to_dict(), "layers": {slot: c.to_dict() for slot, c in self.layers}}

    @classmethod
    def from_dict(cls, document: object) -> "Architecture":
        """From the sections of an architecture YAML; a ValueError says which entry is wrong."""
        if not isinstance(document, Mapping) or not {"backbone", "layers"} <= set(document):
            raise BadInput("an architecture needs the sections 'backbone' and 'layers'")
        for key in document:
            require_known("section of an architecture", key, SECTIONS)
        if not isinstance(document["layers"], Mapping):
            raise BadInput(f"'layers' maps each slot to a choice, got {document['layers']!r}")
        backbone = Backbone.from_dict(document["backbone"])
        choices = {slot: Choice.from_dict(c) for slot, c in document["layers"].items()}
        with torch.device("meta"):
            network = backbone.build()
            slots = find_slots(network)
            convert(network, choices)  # names and sizes are wrong here or never
        return cls(backbone, tuple((name, choice.resolved(slots[name])) for name, choice in choices.items()))


def architecture_from(document: object) -> Architecture:
    """``Architecture.from_dict``, as a function that is found by its name."""
    return Architecture.from_dict(document)


def proxy_of(
    target: Architecture, *, width: float, resolution: int, classes: int
) -> tuple[Architecture, tuple[str, ...]]:
    """The cheap stand-in that a trial trains, and the slots where another choice stands in for the target's.

    The proxy has the target's slots and choices. Where its channels, ``width`` times the target's, can't hold a
    choice, the operator's ``stand_in`` names the nearest: SPConv takes the largest group count below that divides the
    channels, CompConv the deepest recursion that they hold. At ``width`` 1 nothing is substituted.
    """
    backbone = replace(target.backbone, width=target.backbone.width * width, resolution=resolution, classes=classes)
    with torch.device("meta"):
        slots = find_slots(backbone.build())
    layers = tuple((name, choice.stand_in(slots[name])) for name, choice in target.layers)
    changed = tuple(name for (name, a), (_, b) in zip(target.layers, layers, strict=True) if a != b)
    return Architecture(backbone, layers), changed


Model = Callable[..., nn.Module] | nn.Module


def load_architecture(path: str | Path, model: Model | None = None) -> Architecture:
    """Read an architecture YAML, such as ``results/RUN/best.yaml``; a ValueError says why it can't be built.

    Args:
        model: the user's own network that it names, where it names one: no YAML has code imported.
    """
    return _read(path, model)[1]


def build(path: str | Path, model: Model | None = None) -> nn.Module:
    """The target network of an architecture YAML, freshly initialised; the detector, where it is that of one.

    Args:
        model: as for ``load_architecture``.
    """
    document, architecture = _read(path, model)
    training = document.get("training")
    detector = training.get("detector") if isinstance(training, Mapping) else None
    if detector is None:
        return architecture.build()
    detector_on: nn.Module = _detector_on(detector, architecture.build())
    return detector_on


def _read(path: str | Path, model: Model | None) -> tuple[Mapping[str, Any], Architecture]:
    document = read_yaml(expanded(path), str(path))
    try:
        if model is not None:
            give_as_named(document, model)
        return document, Architecture.from_dict(document)
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None


def give_as_named(document: object, model: Model) -> None:
    """Let the user's own network be built by the name that the document has for it.

    Raises:
        BadInput: the document names one of ours, or a library's.
    """
    backbone = document.get("backbone") if isinstance(document, Mapping) else None
    name = str(backbone.get("name", "")) if isinstance(backbone, Mapping) else ""
    if not foreign.is_own(name):
        raise BadInput(f"its backbone is {name!r}, which needs no model: leave it out")
    foreign.give(model, name)
