"""All rows of both papers, and those that belong into the picture of a search."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from search_spaces import Backbone

from . import compconv, spconv
from .row import Row, number

CONTEXT_OF = {"CompConv, Table 5": "vgg16", "CompConv, Table 8": "resnet50"}


@dataclass(frozen=True)
class Point:
    """A published network: FLOPs (multiply-adds) and top-1 accuracy, in percent, as printed."""

    name: str
    flops: float
    accuracy: float


def all_rows() -> list[Row]:
    """SPConv's Tables 1 to 4, then CompConv's 1 to 9."""
    return [*spconv.rows(), *compconv.rows()]


def load_notes() -> dict[str, str]:
    """Key → text of every note."""
    return yaml.safe_load((Path(__file__).parent / "notes.yaml").read_text(encoding="utf-8"))


def published(backbone: Backbone) -> list[Point]:
    """What both papers print for the whole of this network on this task, other methods' pruned networks included."""
    points: dict[tuple[float, float], Point] = {}
    for row in all_rows():
        if row.network is None:
            same = CONTEXT_OF[row.source] == backbone.name and backbone.width == 1
        else:
            same = row.network.part == "whole" and row.network.backbone == backbone
        if same and row.flops and row.accuracy:
            point = Point(row.model, number(row.flops), float(row.accuracy))
            points.setdefault((point.flops, point.accuracy), point)
    return list(points.values())
