"""Processes that train one network together, on equal parts of each batch, by torch.distributed."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from search_spaces.checks import BadInput


@dataclass(frozen=True)
class Team:
    """This process's place among them; one alone is a team too. The process group is there before it is used."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """Its part of a batch.

        Raises:
            BadInput: the batch has no equal parts.
        """
        if batch % self.size:
            raise BadInput(f"--batch must be a multiple of --workers {self.size}, got {batch}")
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def joined(self, model: nn.Module) -> nn.Module:
        """``model``, whose gradients are the means over the team when its backward pass is through."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=True)

    def apart(self, joined: nn.Module) -> AbstractContextManager[None]:
        """Where gradients add up in this process alone: before the last part of a batch."""
        return joined.no_sync() if isinstance(joined, DistributedDataParallel) else nullcontext()

    def sum(self, values: Tensor) -> Tensor:
        """Over the team, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def average_statistics(self, models: Iterable[nn.Module]) -> None:
        """Each process has seen its parts of the batches: BatchNorm's running statistics are made the team's means."""
        for model in models:
            for buffer in model.buffers():
                if self.size > 1 and buffer.is_floating_point():
                    buffer.copy_(self.sum(buffer) / self.size)

    def same(self, value: Any) -> Any:
        """The leader's value, in every process."""
        if self.size == 1:
            return value
        found = [value]
        dist.broadcast_object_list(found, src=0)
        return found[0]

    def gathered(self, value: Any) -> list[Any]:
        """Every process's, in each of them."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


ALONE = Team()
