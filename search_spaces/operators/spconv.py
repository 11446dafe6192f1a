"""SPConv, from *Split to Be Slim: An Overlooked Redundancy in Vanilla Convolution* (Zhang et al., IJCAI 2020)."""

import math
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import require_known
from .backward import attention
from .base import Operator, Size, he_init, nearest_groups, rescale, scale_shift
from .inheriting import Path, assign, blocks, channel_means, fit, outside_blocks, taps, undo
from .spconv_deployed import deployed_forms
from .spconv_plain import plain_forms

Heavy = Literal["gwc+pwc", "gwc-pwc", "vanilla"]
Fusion = Literal["attention", "sum"]
LARGEST_GAIN = 6e4  # that half precision holds: of a channel that is scaled to less than a 60,000th, any β will do
BALANCE = 3.0  # to the fit, of like means of both branches: where they are, attention leaves their sum alone


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
        heavy: what convolves the representative part (P20 to P22 of Table 4): ``gwc+pwc``, grouped and pointwise,
            summed; ``gwc-pwc``, grouped and then pointwise; ``vanilla``, the k×k convolution, whatever ``groups``.
        redundant: whether the redundant channels count at all (P1 of Table 4).
        fusion: ``attention``, or the plain ``sum`` (P3 of Table 4).

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
        heavy: Heavy = "gwc+pwc",
        redundant: bool = True,
        fusion: Fusion = "attention",
        dilation: Size = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation=dilation)
        require_known("heavy of SPConv", heavy, get_args(Heavy))
        require_known("fusion of SPConv", fusion, get_args(Fusion))
        groups = 1 if heavy == "vanilla" else groups
        self.alpha, self.groups, self.heavy, self.fusion = alpha, groups, heavy, fusion
        self.representative = _checked_representative(in_channels, out_channels, alpha, groups)
        geometry = (self.kernel_size, self.stride, self.padding, self.dilation)
        self.gwc = nn.Conv2d(self.representative, out_channels, *geometry, groups=groups, bias=False)
        if heavy != "vanilla":
            pointwise_in = self.representative if heavy == "gwc+pwc" else out_channels
            self.pwc = nn.Conv2d(pointwise_in, out_channels, 1, bias=False)
        self.bn_representative: nn.Module = nn.BatchNorm2d(out_channels)
        self.has_redundant = redundant and self.representative < in_channels
        if self.has_redundant:
            self.redundant = nn.Conv2d(in_channels - self.representative, out_channels, 1, bias=False)
            self.bn_redundant: nn.Module = nn.BatchNorm2d(out_channels)
        self.register_buffer("attention_gain", None)  # set by fold()
        self.attention_gain: Tensor | None
        for conv in (m for m in self.modules() if isinstance(m, nn.Conv2d)):
            he_init(conv)

    def _forward(self, x: Tensor) -> Tensor:
        front, rest = x.split([self.representative, x.shape[1] - self.representative], dim=1)
        u3 = self.bn_representative(self.convolve(front))
        if not self.has_redundant:
            return u3
        u1 = self.bn_redundant(self.redundant(self.on_output_grid(rest)))
        return u3 + u1 if self.fusion == "sum" else self.fuse(u3, u1)

    def convolve(self, representative: Tensor) -> Tensor:
        """The representative part before its BatchNorm: ``(B, αL, H, W)`` → ``(B, C_out, H', W')``."""
        u3 = self.gwc(representative)
        if self.heavy == "gwc+pwc":
            return u3 + self.pwc(self.on_output_grid(representative))
        return self.pwc(u3) if self.heavy == "gwc-pwc" else u3

    def fuse(self, u3: Tensor, u1: Tensor) -> Tensor:
        """Eq. 4–6: ``β·U3 + (1 − β)·U1``; the softmax of two, β, is the sigmoid of the means' difference.

        Where it is exported, in the form that has the fewest nodes: the mean of a difference, and no case for each half
        of β, as ``lerp`` has.
        """
        if torch.compiler.is_exporting():
            between = u3 - u1
            mean = F.adaptive_avg_pool2d(between, 1)
            return u1 + between * torch.sigmoid(mean if self.attention_gain is None else mean * self.attention_gain)
        return attention(u3, u1, self.attention_gain)

    def _inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """The kernel's blocks and the sums over its taps, then least squares for all paths at once.

        Each BatchNorm undoes itself. For the fusion by attention both branches have the same means, over all images
        exactly, over each one as far as least squares allow, so that β is about 1/2; and twice the scale, so that
        their average is the branches' sum.
        """
        front, rest = inputs[:, : self.representative], inputs[:, self.representative :]
        heavy, light = weight[:, : self.representative], weight[:, self.representative :]
        assign(self.gwc, blocks(heavy, self.groups))
        paths = [Path(self.gwc, front)]
        if self.heavy == "gwc+pwc":
            assign(self.pwc, outside_blocks(taps(heavy), self.groups))
            paths.append(Path(self.pwc, self.on_output_grid(front)))
        elif self.heavy == "gwc-pwc":
            assign(self.pwc, torch.eye(self.out_channels, device=weight.device)[:, :, None, None])
            paths = [Path(self.pwc, self.gwc(front))]
        if self.has_redundant:
            rest = self.on_output_grid(rest)
            assign(self.redundant, taps(light))
            paths.append(Path(self.redundant, rest))
        attention = self.has_redundant and self.fusion == "attention"
        fit(outputs, *paths, balance=BALANCE if attention else 0.0)
        u3, mean = self.convolve(front), channel_means(outputs)
        if not self.has_redundant:
            undo(self.bn_representative, u3, mean)
            return
        u1 = self.redundant(rest)
        if attention:
            undo(self.bn_representative, u3, mean, gain=2.0)
            undo(self.bn_redundant, u1, mean, gain=2.0)
        else:
            undo(self.bn_representative, u3, mean - channel_means(u1))
            undo(self.bn_redundant, u1)

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        """A BatchNorm (s, b) behind the fusion folds into both branches, since β + γ = 1.

        s·Y + b = β(s·U3 + b) + γ(s·U1 + b). The branches' means are then s times too large, which ``attention_gain``
        = 1/s undoes. Where s is 0, or next to it, both branches are b, so any β will do.
        """
        heavy = {"gwc+pwc": ["gwc", "pwc"], "gwc-pwc": ["pwc"], "vanilla": ["gwc"]}[self.heavy]
        branches = [[self.get_submodule(name) for name in heavy]]
        self._fold_branch(self.bn_representative, branches[0])
        self.bn_representative = nn.Identity()
        if self.has_redundant:
            branches.append([self.redundant])
            self._fold_branch(self.bn_redundant, branches[1])
            self.bn_redundant = nn.Identity()
        if following is None:
            return False
        scale, shift = scale_shift(following)
        for i, convs in enumerate(branches):
            once = self.fusion == "sum" and i > 0  # of a plain sum, the first branch alone takes the shift
            _rescale_sum(convs, scale, None if once else shift)
        safe = torch.where(scale == 0, torch.ones_like(scale), scale)
        gain = (1 / safe)[None, :, None, None] * (1 if self.attention_gain is None else self.attention_gain)
        self.attention_gain = gain.clamp(-LARGEST_GAIN, LARGEST_GAIN)
        return True

    @torch.no_grad()
    def forms(self, size: tuple[int, int], on_gpu: bool) -> dict[str, nn.Module]:
        """``grouped``, ``dense``, and with Triton on a GPU ``epilogue`` and ``fused``: see ``spconv_deployed``."""
        if not isinstance(self.bn_representative, nn.Identity):
            raise ValueError("SPConv: only a folded operator has forms; fold it first")
        return deployed_forms(self, size, on_gpu)

    @torch.no_grad()
    def graph_forms(self, size: tuple[int, int]) -> dict[str, nn.Module]:
        """``plain`` and ``plain dense``: see ``spconv_plain``."""
        return plain_forms(self, size)

    @staticmethod
    def _fold_branch(bn: nn.Module, convs: list[nn.Module]) -> None:
        if isinstance(bn, nn.BatchNorm2d):  # else it was folded before
            _rescale_sum(convs, *scale_shift(bn))

    @classmethod
    def resolved(cls, in_channels: int, /, **params: Any) -> dict[str, Any]:
        """What has no meaning beside the others has its default."""
        written = super().resolved(in_channels, **params)
        if written.get("heavy") == "vanilla":
            written["groups"] = 1
        unused = {"redundant", "fusion"} if written["alpha"] == 1 else {"fusion"} if "redundant" in written else set()
        return {name: value for name, value in written.items() if name not in unused}

    @classmethod
    def stand_in(cls, in_channels: int, out_channels: int, /, **params: Any) -> dict[str, Any]:
        """α stays, but holds at least one channel; groups shrink to the largest number that divides the channels."""
        alpha = params["alpha"]
        if representative_channels(in_channels, alpha) < 1:
            alpha = 1 / in_channels
        groups = params["groups"]
        if params.get("heavy") != "vanilla":
            groups = nearest_groups(groups, representative_channels(in_channels, alpha), out_channels)
        return {**params, "alpha": alpha, "groups": groups}


def _rescale_sum(convs: list[nn.Module], scale: Tensor, shift: Tensor | None) -> None:
    """Of convolutions that are summed the first takes the shift, all take the scale."""
    for i, conv in enumerate(convs):
        assert isinstance(conv, nn.Conv2d)
        rescale(conv, scale, shift if i == 0 else None)


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
