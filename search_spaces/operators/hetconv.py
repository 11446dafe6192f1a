"""HetConv, from *HetConv: Heterogeneous Kernel-Based Convolutions for Deep CNNs* (Singh et al., CVPR 2019)."""

from typing import Any

import torch
from torch import Tensor, nn

from .base import Operator, Size, he_init, nearest_groups, rescale, scale_shift
from .inheriting import Path, assign, blocks, fit, taps


class HetConv2d(Operator):
    """Of the kernels of each filter, one in P is k×k and the others are 1×1.

    The filters of part i of P have their k×k kernels on part i of the input. The paper deals the parts out like
    cards (the shifted manner, Fig. 3), here they are contiguous: the same up to the order of the channels. A 1×1
    kernel sees the pixel under the centre of the k×k kernels, stride included, for both belong to one filter.

    Parameters: C_in·C_out·(k²/P + 1 − 1/P) (Eq. 4 and 5).

    Args:
        p: P; 1 is the vanilla convolution.

    Raises:
        ValueError: a P that does not divide the channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size | None = None,
        *,
        p: int = 4,
        dilation: Size = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation=dilation)
        if not isinstance(p, int) or p < 1 or in_channels % p or out_channels % p:
            raise ValueError(f"HetConv: p must divide the channels, got p={p!r} for {in_channels} and {out_channels}")
        geometry = (self.kernel_size, self.stride, self.padding, self.dilation)
        self.gwc = he_init(nn.Conv2d(in_channels, out_channels, *geometry, groups=p, bias=False))
        self.p, self.has_pointwise = p, p > 1
        if self.has_pointwise:
            self.pointwise = he_init(nn.Conv2d(in_channels * (p - 1), out_channels, 1, groups=p, bias=False))

    def _forward(self, x: Tensor) -> Tensor:
        out = self.gwc(x)
        return out + self.pointwise(self.others(self.at_output_points(x))) if self.has_pointwise else out

    def others(self, x: Tensor) -> Tensor:
        """For each part the channels of all others: ``(B, C, H, W)`` → ``(B, P · (C − C/P), H, W)``."""
        width = self.in_channels // self.p
        around = [((0, i * width), ((i + 1) * width, self.in_channels)) for i in range(self.p)]
        return torch.cat([x[:, a:b] for each in around for a, b in each if a < b], dim=1)

    def _inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """The kernel's blocks and, elsewhere, the sums over its taps, then least squares for both at once."""
        assign(self.gwc, blocks(weight, self.p))
        if not self.has_pointwise:
            return
        channels = torch.arange(self.in_channels, device=weight.device)
        others = self.others(channels[None, :, None, None]).view(self.p, 1, -1)
        rows = taps(weight)[:, :, 0, 0].unflatten(0, (self.p, -1))
        chosen = rows.gather(2, others.expand(-1, rows.shape[1], -1))
        assign(self.pointwise, chosen.flatten(0, 1)[:, :, None, None])
        fit(outputs, Path(self.gwc, inputs), Path(self.pointwise, self.others(self.at_output_points(inputs))))

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        if following is None:
            return False
        scale, shift = scale_shift(following)
        rescale(self.gwc, scale, shift)
        if self.has_pointwise:
            rescale(self.pointwise, scale)
        return True

    @classmethod
    def stand_in(cls, in_channels: int, out_channels: int, /, **params: Any) -> dict[str, Any]:
        return {**params, "p": nearest_groups(params["p"], in_channels, out_channels)}
