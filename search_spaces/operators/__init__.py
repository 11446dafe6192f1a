"""Operators: drop-in replacements for ``nn.Conv2d``. One file each; a new one is a file plus a line here."""

from .base import Operator, Setting
from .binary import binarize
from .compconv import CompConv2d
from .depthwise_separable import DepthwiseSeparableConv2d
from .ghost import GhostConv2d
from .grouped import GroupedConv2d, GroupedShuffleConv2d
from .hetconv import HetConv2d
from .octconv import OctConv2d
from .pointwise import PointwiseConv2d
from .selective_kernel import SelectiveKernelConv2d
from .spconv import SPConv2d
from .vanilla import VanillaConv2d

OPERATORS: dict[str, type[Operator]] = {
    "vanilla": VanillaConv2d,
    "spconv": SPConv2d,
    "compconv": CompConv2d,
    "ghost": GhostConv2d,
    "hetconv": HetConv2d,
    "octconv": OctConv2d,
    "grouped": GroupedConv2d,
    "grouped_shuffle": GroupedShuffleConv2d,
    "depthwise_separable": DepthwiseSeparableConv2d,
    "pointwise": PointwiseConv2d,
    "selective_kernel": SelectiveKernelConv2d,
}

__all__ = ["OPERATORS", "CompConv2d", "Operator", "SPConv2d", "Setting", "VanillaConv2d", "binarize"]
