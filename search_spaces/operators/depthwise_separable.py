"""Depthwise-separable convolution, from *MobileNets* (Howard et al., 2017) and *Xception* (Chollet, CVPR 2017)."""

import torch
from torch import Tensor, nn

from .base import Operator, Size, absorb, conv_bn, fold_conv_bn, he_init
from .inheriting import Path, assign, conv_of, fit, undo


class DepthwiseSeparableConv2d(Operator):
    """A k×k convolution of each channel by itself, BatchNorm, then a 1×1 convolution over all of them.

    Nothing non-linear stands between the two, as in Xception (Section 4.7): the operator stays a linear drop-in.

    Parameters: k²·C_in + C_in·C_out (MobileNets, Section 3.1), plus 2·C_in of the BatchNorm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size | None = None,
        *,
        dilation: Size = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation=dilation)
        geometry = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        self.depthwise = conv_bn(in_channels, in_channels, self.kernel_size, groups=in_channels, **geometry)
        self.pointwise = he_init(nn.Conv2d(in_channels, out_channels, 1, bias=False))

    def _forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))

    def _inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """The best kernels of rank 1, input channel by input channel, then least squares for the 1×1 convolution."""
        left, scale, right = torch.linalg.svd(weight.transpose(0, 1).flatten(2), full_matrices=False)
        conv = conv_of(self.depthwise)
        assign(conv, right[:, 0].view_as(conv.weight))
        assign(self.pointwise, (left[:, :, 0] * scale[:, :1]).t()[:, :, None, None])
        undo(self.depthwise[1], conv(inputs))
        fit(outputs, Path(self.pointwise, self.depthwise(inputs)))

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        fold_conv_bn(self.depthwise)
        return absorb(self.pointwise, following)
