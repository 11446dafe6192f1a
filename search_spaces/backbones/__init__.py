"""Backbones: the networks whose convolutions are searched. One file each; a new one is a file plus a line here."""

from collections.abc import Callable

from torch import nn

from .resnet import resnet18, resnet20, resnet50

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "resnet18": resnet18,
    "resnet20": resnet20,
    "resnet50": resnet50,
}

__all__ = ["BACKBONES"]
