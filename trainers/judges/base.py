"""What a judge is. It is sent to the machines that judge, so it and what it holds can be pickled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..recipe import Recipe
from ..report import Report

if TYPE_CHECKING:  # importing this brings no torch
    from ..data.base import ImageData


@dataclass(frozen=True)
class Setting:
    """What a search gives to every judge.

    Args:
        data: on the CPU; a judge moves it to ``device`` where it judges.
        seed: the same for all candidates (common random numbers).
        width: the proxy's channels as a share of the target's; ``resolution`` is its input in pixels.
        device: ``cpu`` or ``cuda``; ``threads`` are those of one process on a CPU.
    """

    data: "ImageData"
    recipe: Recipe
    seed: int
    width: float
    resolution: int
    device: str
    threads: int


class Judging(Protocol):
    """One candidate, being judged."""

    def step(self) -> Report:
        """One more epoch, or what a judge takes for one. A report whose status is final is the last."""
        ...


class Judge(Protocol):
    """How a candidate gets its accuracy."""

    def begin(self, architecture: Mapping[str, object], checkpoint: str | None) -> Judging:
        """Judge a target architecture, given as in its YAML, from the beginning or from its checkpoint.

        Args:
            checkpoint: a path or an fsspec address for this candidate alone, where a judging may keep what another
                process needs to go on with it; ``None`` where no folder is shared.
        """
        ...
