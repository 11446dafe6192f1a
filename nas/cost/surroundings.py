"""Where each slot stands in its network: what it reads, and whether a BatchNorm is behind it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from search_spaces import Backbone, find_slots
from search_spaces.folding import normalised

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Place:
    """``shape`` of the input (C, H, W); ``has_bn``: whether a BatchNorm reads the output alone."""

    shape: Shape
    has_bn: bool


def places(backbone: Backbone) -> dict[str, Place]:
    """Slot → its place; one that the network never calls has none."""
    with torch.device("cpu" if backbone.is_foreign else "meta"), torch.no_grad():
        model = backbone.build().eval()
        behind = normalised(model)
        shapes: dict[str, Shape] = {}

        def note(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
            def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
                _, channels, height, width = inputs[0].shape
                shapes[name] = (channels, height, width)

            return hook

        slots = find_slots(model)
        for name in slots:
            model.get_submodule(name).register_forward_pre_hook(note(name))
        model(torch.zeros(1, *backbone.shape))
    return {name: Place(shape, name in behind) for name, shape in shapes.items()}
