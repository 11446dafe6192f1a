"""Channel shuffle, from *ShuffleNet* (Zhang et al., CVPR 2018), for any number of channels."""

import torch
from torch import Tensor


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel shuffle (``(B, C, H, W)`` → the same), in the memory layout that ``x`` has.

    Channels that ``groups`` does not divide are shuffled as if padded to a multiple of it. Where it is exported, one
    node does it.
    """
    channels = x.shape[1]
    if channels % groups or torch.compiler.is_exporting():
        return x.index_select(1, shuffled_order(channels, groups).to(x.device))
    if x.is_contiguous(memory_format=torch.channels_last):
        rows = x.permute(0, 2, 3, 1).unflatten(3, (groups, -1))
        return rows.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def shuffled_order(channels: int, groups: int) -> Tensor:
    """The source of each shuffled channel: a matrix of ``groups`` rows read by columns; ``(channels,)``."""
    columns = -(-channels // groups)
    padded = (row * columns + column for column in range(columns) for row in range(groups))
    return torch.tensor([source for source in padded if source < channels])
