"""Architectures: slot → choice for a whole network; frozen, hashable, and a YAML round trip."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from .backbones import BACKBONES, foreign
from .catalogue import read_yaml
from .checks import BadInput, expanded, require_known
from .late import Late
from .slots import VANILLA, Choice, convert, find_slots

_detector_on, _require_detector, _inference = (  # torchvision's detectors are seldom wanted
    Late("search_spaces.detectors", name) for name in ("detector_on", "require_detector", "Inference")
)
DETECTOR_SIDE, DETECTOR_ASPECT = 800, 1333 / 800  # pixels, of the images that CompConv, Section 4.4, counts with
OBJECTS = 80  # COCO's classes
SECTIONS = ("space", "backbone", "layers", "metrics", "budget", "training", "provenance")


@dataclass(frozen=True)
class Backbone:
    """A network by name: one of ours, of torchvision's or timm's, or of the user's own code (``backbones.foreign``).

    ``width`` scales all channels, of ours alone; ``resolution`` is the input's height and width in pixels.

    With ``detector`` (``search_spaces.detectors``) it is what a detector is built on: ``classes`` are then those of
    objects, without the background, and ``resolution`` is an image's shorter side.
    """

    name: str
    classes: int
    resolution: int
    width: float = 1.0
    detector: str | None = None

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
        if self.detector is not None:
            _require_detector(self.detector)

    @classmethod
    def from_dict(cls, entry: object) -> "Backbone":
        """Missing entries other than ``name`` are refused, unknown ones too."""
        if not isinstance(entry, Mapping) or not {"name", "classes", "resolution"} <= set(entry):
            raise BadInput(f"backbone needs name, classes and resolution, got {entry!r}")
        for key in entry:
            require_known("key in backbone", key, cls.__dataclass_fields__)
        kinds_of: dict[str, tuple[type, ...]] = {"classes": (int,), "resolution": (int,), "width": (int, float)}
        if entry.get("detector") is not None and not isinstance(entry["detector"], str):
            raise BadInput(f"backbone: detector must be a detector's name, got {entry['detector']!r}")
        for key, kinds in kinds_of.items():
            if key in entry and (isinstance(entry[key], bool) or not isinstance(entry[key], kinds)):
                raise BadInput(f"backbone: {key} must be a number, got {entry[key]!r}")
        return cls(**entry)

    @property
    def is_foreign(self) -> bool:
        """Whether it is none of ours."""
        return foreign.is_foreign(self.name)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image (C, H, W): a square; a detector's is as wide as both papers' are."""
        wide = self.resolution if self.detector is None else round(self.resolution * DETECTOR_ASPECT)
        return 3, self.resolution, wide

    def build(self) -> nn.Module:
        """The network, and of a detector what it is built on: a classifier, freshly initialised."""
        if self.is_foreign:
            return foreign.build_foreign(self.name, self.classes, self.resolution)
        return BACKBONES[self.name](classes=self.classes, width=self.width, resolution=self.resolution)

    def in_detector(self, name: str) -> "Backbone":
        """What this detector is built on, with COCO's classes and images of the size that both papers detect in."""
        return replace(self, detector=name, classes=OBJECTS, resolution=DETECTOR_SIDE)

    def to_dict(self) -> dict[str, object]:
        """As an architecture's YAML has it."""
        said = {n: getattr(self, n) for n in ("name", "classes", "resolution", "width")}
        return said if self.detector is None else {**said, "detector": self.detector}


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
        backbone, network = self.backbone, convert(self.backbone.build(), dict(self.layers))
        if backbone.detector is None:
            return network
        detector: nn.Module = _detector_on(backbone.detector, network, backbone.classes)
        return detector

    def inference(self) -> nn.Module:
        """What it computes for images of ``backbone.shape``: of a detector the part that is the same for all."""
        network = self.build()
        return network if self.backbone.detector is None else _inference(network)

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
        training = document.get("training")
        if isinstance(training, Mapping) and training.get("detector") is not None:
            raise BadInput(f"the detector belongs to the backbone: write detector: {training['detector']} there")
        backbone = Backbone.from_dict(document["backbone"])
        choices = {slot: Choice.from_dict(c) for slot, c in document["layers"].items()}
        with torch.device("meta"):
            network = backbone.build()
            slots = find_slots(network)
            convert(network, choices)  # names and sizes are wrong here or never
            if backbone.detector is not None:
                _detector_on(backbone.detector, network, backbone.classes)
        return cls(backbone, tuple((name, choice.resolved(slots[name])) for name, choice in choices.items()))


def architecture_from(document: object) -> Architecture:
    """``Architecture.from_dict``, as a function that is found by its name."""
    return Architecture.from_dict(document)


def proxy_of(
    target: Architecture, *, width: float, resolution: int, classes: int
) -> tuple[Architecture, tuple[str, ...]]:
    """The cheap stand-in that a trial trains, and the slots where another choice stands in for the target's.

    The proxy has the target's slots and choices, and is a classifier, whatever the target is. Where its channels,
    ``width`` times the target's, can't hold a choice, the operator's ``stand_in`` names the nearest: SPConv takes the
    largest group count below that divides the channels, CompConv the deepest recursion that they hold. At ``width`` 1
    nothing is substituted.
    """
    smaller = replace(target.backbone, width=target.backbone.width * width, resolution=resolution, classes=classes)
    backbone = replace(smaller, detector=None)
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
    document = read_yaml(expanded(path), str(path))
    try:
        if model is not None:
            give_as_named(document, model)
        return Architecture.from_dict(document)
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None


def build(path: str | Path, model: Model | None = None) -> nn.Module:
    """The target network of an architecture YAML, freshly initialised; the detector, where it is that of one.

    Args:
        model: as for ``load_architecture``.
    """
    return load_architecture(path, model).build()


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
