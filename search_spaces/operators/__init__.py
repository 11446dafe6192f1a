"""Operators: drop-in replacements for ``nn.Conv2d``. One file each; a new one is a file plus a line here."""

from .base import Operator
from .compconv import CompConv2d
from .spconv import SPConv2d
from .vanilla import VanillaConv2d

OPERATORS: dict[str, type[Operator]] = {
    "vanilla": VanillaConv2d,
    "spconv": SPConv2d,
    "compconv": CompConv2d,
}

__all__ = ["OPERATORS", "CompConv2d", "Operator", "SPConv2d", "VanillaConv2d"]
