"""Ghost module, from *GhostNet: More Features from Cheap Operations* (Han et al., CVPR 2020)."""

from typing import Any

import torch
from torch import Tensor, nn

from .base import Operator, Size, conv_bn, fold_conv_bn
from .inheriting import assign, conv_of, fit_conv_bn, undo_conv_bn


class GhostConv2d(Operator):
    """A few intrinsic maps by the k×k convolution (Eq. 2), the others from them by depthwise d×d ones (Eq. 3).

    The first ⌈C_out/s⌉ output channels are the intrinsic maps, the others their ghosts, cut to C_out. Each convolution
    has its BatchNorm; nothing is non-linear, as Φ of Eq. 3 is linear (the authors' code of GhostNet, not of the
    networks that both papers compare with, puts a ReLU behind each).

    Parameters: k²·C_in·⌈C_out/s⌉ + d²·(s − 1)·⌈C_out/s⌉ (Eq. 5), plus 2 a channel for BatchNorm.

    Args:
        ratio: s; 1 is the vanilla convolution with a BatchNorm.
        cheap_kernel: d, odd.

    Raises:
        ValueError: a ratio below 1 or above ``out_channels``; an even or negative ``cheap_kernel``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size | None = None,
        *,
        ratio: int = 2,
        cheap_kernel: int = 3,
        dilation: Size = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation=dilation)
        if not isinstance(ratio, int) or not 1 <= ratio <= out_channels:
            raise ValueError(f"Ghost: ratio must be an integer from 1 to the {out_channels} channels, got {ratio!r}")
        if not isinstance(cheap_kernel, int) or cheap_kernel < 1 or cheap_kernel % 2 == 0:
            raise ValueError(f"Ghost: cheap_kernel must be odd and at least 1, got {cheap_kernel!r}")
        intrinsic = -(-out_channels // ratio)
        geometry = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        self.primary = conv_bn(in_channels, intrinsic, self.kernel_size, **geometry)
        self.has_ghosts = ratio > 1
        if self.has_ghosts:
            ghosts, padding = intrinsic * (ratio - 1), cheap_kernel // 2
            self.cheap = conv_bn(intrinsic, ghosts, cheap_kernel, padding=padding, groups=intrinsic)

    def _forward(self, x: Tensor) -> Tensor:
        intrinsic = self.primary(x)
        if not self.has_ghosts:
            return intrinsic
        return torch.cat([intrinsic, self.cheap(intrinsic)], dim=1)[:, : self.out_channels]

    def _inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """The intrinsic maps are the dense layer's first ones; each ghost by least squares from its intrinsic map."""
        primary = conv_of(self.primary)
        intrinsic = primary.out_channels
        assign(primary, weight[:intrinsic])
        maps = undo_conv_bn(self.primary, inputs, outputs[:, :intrinsic])
        if self.has_ghosts:
            fit_conv_bn(self.cheap, maps, outputs[:, intrinsic:])

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        """``following`` can't be absorbed: the ghosts are made from the intrinsic maps as they were before it."""
        fold_conv_bn(self.primary)
        if self.has_ghosts:
            fold_conv_bn(self.cheap)
        return False

    @classmethod
    def resolved(cls, in_channels: int, /, **params: Any) -> dict[str, Any]:
        """Without ghosts the cheap kernel has its default."""
        written = super().resolved(in_channels, **params)
        return written if written["ratio"] > 1 else {**written, "cheap_kernel": 3}

    @classmethod
    def stand_in(cls, in_channels: int, out_channels: int, /, **params: Any) -> dict[str, Any]:
        return {**params, "ratio": min(params["ratio"], out_channels)}
