"""Pointwise convolution, from *Network In Network* (Lin et al., ICLR 2014)."""

from torch import Tensor, nn

from .base import Operator, Size, absorb, he_init
from .inheriting import Path, assign, fit, taps


class PointwiseConv2d(Operator):
    """A 1×1 convolution in place of the k×k one; where the stride is not 1, average pooling comes first.

    Parameters: C_in·C_out.
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
        self.conv = he_init(nn.Conv2d(in_channels, out_channels, 1, bias=False))

    def _forward(self, x: Tensor) -> Tensor:
        return self.conv(self.on_output_grid(x))

    def _inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """The sums over the kernel's taps, then least squares."""
        assign(self.conv, taps(weight))
        fit(outputs, Path(self.conv, self.on_output_grid(inputs)))

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        return absorb(self.conv, following)
