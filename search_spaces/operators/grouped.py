"""Grouped convolution, plain (AlexNet, ResNeXt) and followed by a channel shuffle (ShuffleNet)."""

from typing import Any

import torch
from torch import Tensor, nn

from .base import Operator, Size, absorb, he_init, nearest_groups, require_groups, rescale, scale_shift
from .inheriting import Path, assign, blocks, fit
from .shuffle import shuffle, shuffled_order


class GroupedConv2d(Operator):
    """The k×k convolution in ``groups`` groups, from AlexNet (Krizhevsky et al., NeurIPS 2012).

    Parameters: k²·C_in·C_out / g.

    Raises:
        ValueError: groups that do not divide the channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size | None = None,
        *,
        groups: int = 2,
        dilation: Size = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation=dilation)
        require_groups(type(self).__name__, groups, in_channels, out_channels)
        geometry = (self.kernel_size, self.stride, self.padding, self.dilation)
        self.conv = he_init(nn.Conv2d(in_channels, out_channels, *geometry, groups=groups, bias=False))
        self.groups = groups

    def _forward(self, x: Tensor) -> Tensor:
        return self.conv(x)

    def _inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """The blocks of the dense kernel, then least squares."""
        assign(self.conv, blocks(weight, self.groups))
        fit(outputs, Path(self.conv, inputs))

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        return absorb(self.conv, following)

    @classmethod
    def stand_in(cls, in_channels: int, out_channels: int, /, **params: Any) -> dict[str, Any]:
        return {**params, "groups": nearest_groups(params["groups"], in_channels, out_channels)}


class GroupedShuffleConv2d(GroupedConv2d):
    """A grouped convolution, then a channel shuffle in as many groups (*ShuffleNet*, Zhang et al., CVPR 2018, Fig. 1).

    At a 1×1 slot it is ShuffleNet's grouped pointwise convolution; other kernels take the same form.
    """

    def _forward(self, x: Tensor) -> Tensor:
        return shuffle(self.conv(x), self.groups)

    def _inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """As without the shuffle, with the outputs in the order that they have before it."""
        before = torch.argsort(shuffled_order(self.out_channels, self.groups)).to(outputs.device)
        super()._inherit(weight[before], inputs, outputs[:, before])

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        if following is not None:
            order = shuffled_order(self.out_channels, self.groups).to(self.conv.weight.device)
            before = torch.argsort(order)
            scale, shift = scale_shift(following)
            rescale(self.conv, scale[before], shift[before])
        return following is not None
