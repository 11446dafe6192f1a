"""The vanilla convolution: what all others are measured against."""

from torch import Tensor, nn

from .base import Operator, Size, absorb, he_init
from .inheriting import assign


class VanillaConv2d(Operator):
    """``nn.Conv2d`` without bias, as an operator like the others. Parameters: k²·C_in·C_out (SPConv, Eq. 8)."""

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
        geometry = (self.kernel_size, self.stride, self.padding, self.dilation)
        self.conv = he_init(nn.Conv2d(in_channels, out_channels, *geometry, bias=False))

    def _forward(self, x: Tensor) -> Tensor:
        return self.conv(x)

    def _inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        assign(self.conv, weight)

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        return absorb(self.conv, following)
