"""SPConv, from *Split to Be Slim: An Overlooked Redundancy in Vanilla Convolution* (Zhang et al., IJCAI 2020)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Operator, Size, he_init, rescale, scale_shift


def representative_channels(in_channels: int, alpha: float) -> int:
    """αL of Eq. 2, rounded to the nearest integer."""
    return math.floor(alpha * in_channels + 0.5)


class SPConv2d(Operator):
    """Split the input in two, convolve one part well and the other cheaply, fuse by attention.

    The first αL channels are representative: a grouped k×k convolution plus a pointwise one, summed (Eq. 3). The
    others are redundant: one pointwise convolution (Eq. 2). Each branch has its BatchNorm, as the authors' code has.
    The two are fused without parameters, by the softmax of their global means (Eq. 4–6). With α = 1 there is no
    redundant part and no fusion. Where the stride is not 1, both pointwise paths average-pool first.

    Parameters: (k²·α/g + 1)·C_in·C_out (Eq. 9), plus 2·C_out for each BatchNorm.

    Args:
        alpha: α in (0, 1], the ratio of representative channels.
        groups: g of the grouped k×k convolution; it must divide αL and ``out_channels``.

    Raises:
        ValueError: α out of range or below one channel; groups that divide the channels not.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size | None = None,
        *,
        alpha: float = 1 / 2,
        groups: int = 2,
        dilation: Size = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation=dilation)
        self.alpha, self.groups = alpha, groups
        self.representative = _checked_representative(in_channels, out_channels, alpha, groups)
        self.gwc = nn.Conv2d(
            self.representative,
            out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            groups=groups,
            bias=False,
        )
        self.pwc = nn.Conv2d(self.representative, out_channels, 1, bias=False)
        self.bn_representative: nn.Module = nn.BatchNorm2d(out_channels)
        self.has_redundant = self.representative < in_channels
        if self.has_redundant:
            self.redundant = nn.Conv2d(in_channels - self.representative, out_channels, 1, bias=False)
            self.bn_redundant: nn.Module = nn.BatchNorm2d(out_channels)
        self.register_buffer("attention_gain", None)  # set by fold()
        self.attention_gain: Tensor | None
        for conv in (m for m in self.modules() if isinstance(m, nn.Conv2d)):
            he_init(conv)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.on_output_grid(x)
        r = self.representative
        u3 = self.bn_representative(self.gwc(x[:, :r]) + self.pwc(pooled[:, :r]))
        return self.fuse(u3, self.bn_redundant(self.redundant(pooled[:, r:]))) if self.has_redundant else u3

    def fuse(self, u3: Tensor, u1: Tensor) -> Tensor:
        """Eq. 4–6: ``β·U3 + (1 − β)·U1``; the softmax of two, β, is the sigmoid of the means' difference."""
        difference = F.adaptive_avg_pool2d(u3, 1) - F.adaptive_avg_pool2d(u1, 1)
        if self.attention_gain is not None:
            difference = difference * self.attention_gain
        return torch.lerp(u1, u3, torch.sigmoid(difference))

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        """A BatchNorm (s, b) behind the fusion folds into both branches, since β + γ = 1.

        s·Y + b = β(s·U3 + b) + γ(s·U1 + b). The branches' means are then s times too large, which ``attention_gain``
        = 1/s undoes. Where s is 0 both branches are b, so any β will do.
        """
        self._fold_branch(self.bn_representative, self.gwc, self.pwc)
        self.bn_representative = nn.Identity()
        branches = [(self.gwc, self.pwc)]
        if self.has_redundant:
            self._fold_branch(self.bn_redundant, self.redundant)
            self.bn_redundant = nn.Identity()
            branches.append((self.redundant,))  # type: ignore[arg-type]
        if following is None:
            return False
        scale, _ = scale_shift(following)
        for convs in branches:
            self._fold_branch(following, *convs)
        tiny = torch.finfo(scale.dtype).tiny ** 0.5
        safe = torch.where(scale.abs() < tiny, torch.full_like(scale, tiny), scale)
        self.attention_gain = (1 / safe)[None, :, None, None]
        return True

    @staticmethod
    def _fold_branch(bn: nn.Module, *convs: nn.Conv2d) -> None:
        """The first convolution takes the shift; the others, summed with it, the scale alone."""
        assert isinstance(bn, nn.BatchNorm2d)
        scale, shift = scale_shift(bn)
        first, *others = convs
        rescale(first, scale, shift)
        for conv in others:
            conv.weight = nn.Parameter(conv.weight.detach() * scale[:, None, None, None], requires_grad=False)

    @classmethod
    def resolved(cls, in_channels: int, /, **params: float) -> dict[str, float]:
        return {"alpha": 1 / 2, "groups": 2, **params}

    @classmethod
    def stand_in(cls, in_channels: int, out_channels: int, /, **params: float) -> dict[str, float]:
        """α stays, but holds at least one channel; groups shrink to the largest number that divides the channels."""
        alpha, groups = params["alpha"], params["groups"]
        representative = representative_channels(in_channels, alpha)
        if representative < 1:
            alpha, representative = 1 / in_channels, 1
        common = math.gcd(representative, out_channels)
        groups = max(g for g in range(1, common + 1) if common % g == 0 and g <= groups)
        return {"alpha": alpha, "groups": groups}


def _checked_representative(in_channels: int, out_channels: int, alpha: float, groups: int) -> int:
    """The number of representative channels, or the rule that is broken."""
    if not 0 < alpha <= 1:
        raise ValueError(f"SPConv: alpha must be in (0, 1], got {alpha}")
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"SPConv: groups must be an integer of at least 1, got {groups!r}")
    representative = representative_channels(in_channels, alpha)
    if representative < 1:
        raise ValueError(f"SPConv: alpha × in_channels must be at least one channel, got {alpha} × {in_channels}")
    if representative % groups or out_channels % groups:
        raise ValueError(
            f"SPConv: groups must divide the representative and the output channels, "
            f"got groups={groups} for {representative} (alpha {alpha} of {in_channels}) and {out_channels}"
        )
    return representative
