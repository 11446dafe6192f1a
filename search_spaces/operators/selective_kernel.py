"""Selective kernel convolution, from *Selective Kernel Networks* (Li et al., CVPR 2019)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Operator, Size, conv_bn, fold_conv_bn, nearest_groups, require_groups, rescale, scale_shift
from .inheriting import Path, assign, blocks, conv_of, fit, take_statistics, undo

LEAST_SQUEEZED = 32  # L of Eq. 4
LIFT = 2.0


class SqueezeNorm(nn.BatchNorm1d):
    """BatchNorm of vectors ``(B, d)`` that takes its running statistics where a batch of one has none of its own."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] == 1:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


class SelectiveKernelConv2d(Operator):
    """Two grouped convolutions, one dilated to twice the reach, weighed against each other by attention (SK[2, G, r]).

    Split: both branches, each with BatchNorm and ReLU. Fuse: the sum, averaged globally (Eq. 1 and 2), squeezed to
    d = max(C/r, 32) (Eq. 3 and 4). Select: a softmax of two, channel by channel (Eq. 5 and 6).

    Args:
        groups: G of both convolutions.
        reduction: r.

    Raises:
        ValueError: groups that do not divide the channels, a reduction below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size | None = None,
        *,
        groups: int = 32,
        reduction: int = 16,
        dilation: Size = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation=dilation)
        require_groups("SK", groups, in_channels, out_channels)
        if not isinstance(reduction, int) or reduction < 1:
            raise ValueError(f"SK: reduction must be an integer of at least 1, got {reduction!r}")
        near, far = self.dilation, (2 * self.dilation[0], 2 * self.dilation[1])
        more = [d * (k - 1) for k, d in zip(self.kernel_size, near, strict=True)]  # how much the far kernel is larger
        around = tuple(p + m // 2 for p, m in zip(self.padding, more, strict=True))
        self.uneven = (0, more[1] % 2, 0, more[0] % 2)
        geometry = {"stride": self.stride, "groups": groups}
        self.near = conv_bn(
            in_channels, out_channels, self.kernel_size, padding=self.padding, dilation=near, **geometry
        )
        self.far = conv_bn(in_channels, out_channels, self.kernel_size, padding=around, dilation=far, **geometry)
        squeezed = max(out_channels // reduction, LEAST_SQUEEZED)
        self.squeeze = nn.Linear(out_channels, squeezed, bias=False)
        self.squeeze_norm: nn.Module = SqueezeNorm(squeezed)
        self.select = nn.Linear(squeezed, 2 * out_channels, bias=False)

    def _forward(self, x: Tensor) -> Tensor:
        near = F.relu(self.near(x))
        far = F.relu(self.far(F.pad(x, self.uneven) if any(self.uneven) else x))
        means = F.adaptive_avg_pool2d(near + far, 1).flatten(1)
        scores = self.select(F.relu(self.squeeze_norm(self.squeeze(means))))
        towards_near, towards_far = scores.unflatten(1, (2, -1)).unbind(1)
        weight = torch.sigmoid(towards_near - towards_far)[:, :, None, None]  # the softmax of two
        return torch.lerp(far, near, weight)

    def _inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """The blocks of the dense kernel for the near branch, then least squares for the sum of both.

        Each branch's BatchNorm doubles it, for the two are about averaged, and lifts it by ``LIFT`` standard deviations
        of the outputs, which are of both signs, above the ReLU; the BatchNorm behind takes that back.
        """
        near, far, padded = conv_of(self.near), conv_of(self.far), F.pad(inputs, self.uneven)
        assign(near, blocks(weight, near.groups))
        nn.init.zeros_(far.weight)
        fit(outputs, Path(near, inputs), Path(far, padded))
        lift = LIFT * outputs.std((0, 2, 3))
        undo(self.near[1], near(inputs), lift, gain=2.0)
        undo(self.far[1], far(padded), lift, gain=2.0)
        means = F.adaptive_avg_pool2d(F.relu(self.near(inputs)) + F.relu(self.far(padded)), 1).flatten(1)
        assert isinstance(self.squeeze_norm, nn.BatchNorm1d)
        take_statistics(self.squeeze_norm, self.squeeze(means), [self.squeeze_norm])

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        """``following`` can't be absorbed: a ReLU stands before it."""
        fold_conv_bn(self.near)
        fold_conv_bn(self.far)
        if isinstance(self.squeeze_norm, nn.BatchNorm1d):
            rescale(self.squeeze, *scale_shift(self.squeeze_norm))
            self.squeeze_norm = nn.Identity()
        return False

    @classmethod
    def stand_in(cls, in_channels: int, out_channels: int, /, **params: Any) -> dict[str, Any]:
        return {**params, "groups": nearest_groups(params["groups"], in_channels, out_channels)}
