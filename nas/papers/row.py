"""One published row, the network that it names, and how both are measured and compared."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Literal

from torch import nn

from search_spaces import Architecture, Backbone, Choice, Slot
from search_spaces.space import backbone_slots

from ..cost.flops import count_params, trace_flops

UNITS = {"M": 1e6, "G": 1e9}
Detector = Literal["faster_rcnn", "retinanet"]
Part = Literal["whole", "body", "detector"]
Printed = tuple[str | None, str | None, str | None]  # params, FLOPs and accuracy, as a table has them
Choose = Callable[[Slot], Choice | None]  # what a slot gets; None leaves it vanilla


def vanilla(slot: Slot) -> Choice | None:
    """Nothing replaced."""
    return None


def every_3x3(choice: Choice) -> Choose:
    """Each 3×3 convolution but the first, as SPConv replaces them (Section 4)."""
    return lambda slot: choice if slot.kernel_size == (3, 3) and slot.in_channels > 3 else None


def every(choice: Choice) -> Choose:
    """Each convolution but the first; where the channels can't hold it, its stand-in."""
    return lambda slot: choice.resolved(slot).stand_in(slot) if slot.in_channels > 3 else None


def but_shortcuts(choose: Choose) -> Choose:
    """The same, with the shortcuts' convolutions kept."""
    return lambda slot: None if "downsample" in slot.name else choose(slot)


@dataclass(frozen=True)
class Network:
    """A network of a row.

    Args:
        train_mode: whether BatchNorm counts 5 an element, as fvcore counts it in training mode, or 2, as in eval mode.
        part: ``body`` leaves out the classifier; ``detector`` is all of it, at 800×1333.
        detector: what is built on the body, if anything.
    """

    backbone: Backbone
    choose: Choose = vanilla
    train_mode: bool = False
    part: Part = "whole"
    detector: Detector | None = None

    @cached_property
    def architecture(self) -> Architecture:
        slots = backbone_slots(self.backbone)
        chosen = {name: self.choose(slot) for name, slot in slots.items()}
        layers = ((name, choice.resolved(slots[name])) for name, choice in chosen.items() if choice is not None)
        return Architecture(self.backbone, tuple(layers))

    @property
    def deployed(self) -> Architecture:
        """What is trained and used: the detector, where one is built on the network."""
        if self.detector is None:
            return self.architecture
        return replace(self.architecture, backbone=self.backbone.in_detector(self.detector))

    def measure(self) -> tuple[int, int]:
        """``(params, flops)`` of the network as it is built, by fvcore."""
        if self.part == "detector":
            network, shape = self.deployed.inference().eval(), self.deployed.backbone.shape
            return count_params(network), trace_flops(network, (1, *shape))
        return _measure(self.architecture, self.train_mode, self.part)


@cache
def _measure(architecture: Architecture, train_mode: bool, part: Part) -> tuple[int, int]:
    model = architecture.build()
    if part == "body":
        model.fc = nn.Identity()
    for module in model.modules():
        module.train(train_mode and not isinstance(module, nn.BatchNorm1d))  # one image has no variance there
    return count_params(model), trace_flops(model, (1, *architecture.backbone.shape))


@dataclass(frozen=True)
class Row:
    """A row as printed. Without a ``network`` it is context: a method that is no convolution of ours.

    Args:
        params, flops, accuracy: as printed (``41.62M``, ``2.97G``); accuracy in percent, top-1 or mAP.
        note: a key of ``notes.yaml``.
        tolerance: the relative deviation that needs no note.
        recipe: a name of ``trainers.full.recipe.FULL_RECIPES``.
    """

    id: str
    source: str
    model: str
    params: str | None
    flops: str | None
    accuracy: str | None
    network: Network | None = None
    note: str = ""
    tolerance: float = 0.01
    recipe: str = ""


@dataclass(frozen=True)
class Comparison:
    """A printed figure and ours."""

    printed: float
    ours: int
    precision: float

    @property
    def deviation(self) -> float:
        """Relative, of ours from the printed one."""
        return self.ours / self.printed - 1

    def agrees(self, tolerance: float) -> bool:
        """Within ``tolerance``, or the printed figure is ours rounded to its digits."""
        return abs(self.deviation) <= tolerance or abs(self.ours - self.printed) <= self.precision


def number(printed: str) -> float:
    """``41.62M`` → 41,620,000."""
    return float(printed[:-1]) * UNITS[printed[-1]]


def compare(printed: str | None, ours: int) -> Comparison | None:
    """``None`` where the paper prints nothing."""
    if printed is None:
        return None
    decimals = len(printed[:-1].partition(".")[2])
    return Comparison(number(printed), ours, 0.5 * 10**-decimals * UNITS[printed[-1]] * (1 + 1e-9))
