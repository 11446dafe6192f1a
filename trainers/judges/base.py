"""What a judge is. It is sent to the machines that judge, so it and what it holds can be pickled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ..recipe import Recipe
from ..report import Report

if TYPE_CHECKING:  # importing this brings no torch
    from torch import Tensor

    from search_spaces.backbones.foreign import Own

    from ..data.base import ImageData


@dataclass(frozen=True)
class Setting:
    """What a search gives to every judge.

    Args:
        data: on the CPU; a judge moves it to ``device`` where it judges.
        width: the proxy's channels as a share of the target's; ``resolution`` is its input in pixels.
        device: ``cpu`` or ``cuda``; ``threads`` are those of one process on a CPU.
        parent: the trained vanilla proxy's state dict, on the CPU, for a judge that wants one.
        models: networks of the user's own, by name, as ``search_spaces.backbones.foreign`` builds them.
        keeps_weights: whether the last report of a judging carries the weights that it scored.
    """

    data: "ImageData"
    recipe: Recipe
    width: float
    resolution: int
    device: str
    threads: int
    parent: "Mapping[str, Tensor] | None" = None
    keeps_weights: bool = False
    models: "Mapping[str, Own]" = field(default_factory=dict)


class Judging(Protocol):
    """One candidate, being judged."""

    def step(self) -> Report:
        """One more epoch, or what a judge takes for one. A report whose status is final is the last."""
        ...


class Judge(Protocol):
    """How a candidate gets its accuracy."""

    def begin(self, architecture: Mapping[str, object], checkpoint: str | None, seed: int) -> Judging:
        """Judge a target architecture, given as in its YAML, from the beginning or from its checkpoint.

        Args:
            seed: the same for all candidates (common random numbers), but where the noise is to be known.
            checkpoint: a path or an fsspec address for this candidate alone, where a judging may keep what another
                process needs to go on with it; ``None`` where no folder is shared.
        """
        ...
