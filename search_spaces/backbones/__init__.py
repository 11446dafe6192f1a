"""Backbones: the networks whose convolutions are searched. One file each; a new one is a file plus a line here."""

from collections.abc import Callable

from torch import nn

from .resnet import resnet18, resnet18_cifar, resnet20, resnet50, resnet50_cifar
from .vgg import vgg16, vgg16_two_fc

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "resnet18": resnet18,
    "resnet18_cifar": resnet18_cifar,
    "resnet20": resnet20,
    "resnet50": resnet50,
    "resnet50_cifar": resnet50_cifar,
    "vgg16": vgg16,
    "vgg16_two_fc": vgg16_two_fc,
}

__all__ = ["BACKBONES"]
