"""What all operators share: the signature of ``nn.Conv2d``, the 1×1 path's grid, and folding for deployment."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = int | tuple[int, int]


def pair(value: Size) -> tuple[int, int]:
    """``3`` → ``(3, 3)``; a pair stays as it is."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def he_init(conv: nn.Conv2d) -> nn.Conv2d:
    """He initialisation (fan-out), in place; nothing on the meta device, where there is nothing to fill."""
    if not conv.weight.is_meta:
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def conv_bn(in_channels: int, out_channels: int, kernel_size: Size, **geometry: Any) -> nn.Sequential:
    """A convolution without bias and its BatchNorm, He-initialised (fan-out)."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, bias=False, **geometry)
    return nn.Sequential(he_init(conv), nn.BatchNorm2d(out_channels))


class Operator(nn.Module):
    """A drop-in replacement for ``nn.Conv2d`` (with ``groups=1``): ``(B, C_in, H, W)`` → ``(B, C_out, H', W')``.

    ``H'`` and ``W'`` are those of ``nn.Conv2d`` with the same kernel, stride, padding and dilation, for every size.
    No operator has a bias: each ends in a BatchNorm, its own or the network's, that has one.

    Args:
        padding: as in ``nn.Conv2d``; ``None`` keeps the size at stride 1 (odd kernels).

    Raises:
        ValueError: a size that no convolution has.
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
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.dilation = pair(kernel_size), pair(stride), pair(dilation)
        sizes = (in_channels, out_channels, *self.kernel_size, *self.stride, *self.dilation)
        if min(sizes) < 1:
            raise ValueError(
                f"channels, kernel, stride and dilation must be at least 1, "
                f"got {in_channels} → {out_channels} channels, kernel {self.kernel_size}, "
                f"stride {self.stride}, dilation {self.dilation}"
            )
        reach = [d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        self.padding = (reach[0] // 2, reach[1] // 2) if padding is None else pair(padding)
        if min(self.padding) < 0:
            raise ValueError(f"padding must be at least 0, got {self.padding}")
        top, left = (p - r // 2 for p, r in zip(self.padding, reach, strict=True))
        bottom, right = (p - (r - r // 2) for p, r in zip(self.padding, reach, strict=True))
        self.margins = (left, right, top, bottom)

    def on_output_grid(self, x: Tensor) -> Tensor:
        """``x`` as a 1×1 path sees it, at the size of the output: ``(B, C, H, W)`` → ``(B, C, H', W')``.

        Average pooling over ``stride × stride`` cells, the last row and column of an odd size over what is there.
        Unusual paddings crop or pad first, so that a cell lies where the centre of the k×k kernel lies.
        """
        if any(self.margins):
            x = F.pad(x, self.margins)
        if self.stride != (1, 1):
            x = F.avg_pool2d(x, self.stride, self.stride, ceil_mode=True, count_include_pad=False)
        return x

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        """Turn this module, in eval mode, into its inference form: no BatchNorm of its own is left.

        Args:
            following: the network's BatchNorm behind this operator, if any.

        Returns:
            Whether ``following`` was absorbed too; if so the caller removes it.
        """
        raise NotImplementedError

    @classmethod
    def resolved(cls, in_channels: int, /, **params: float) -> dict[str, float]:
        """Every hyper-parameter written out, defaults and what follows from the channels included."""
        return params

    @classmethod
    def stand_in(cls, in_channels: int, out_channels: int, /, **params: float) -> dict[str, float]:
        """The nearest hyper-parameters that these channels can hold; ``params``, resolved, where they can."""
        raise NotImplementedError


def scale_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The per-channel ``(scale, shift)`` that ``bn`` applies in eval mode; each ``(C,)``."""
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError(
            "a BatchNorm without running statistics can't be folded: build it with track_running_stats=True"
        )
    scale = torch.rsqrt(bn.running_var + bn.eps) * (1.0 if bn.weight is None else bn.weight)
    shift = -bn.running_mean * scale + (0.0 if bn.bias is None else bn.bias)
    return scale.detach(), shift.detach()


def rescale(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    """Make ``conv`` return ``scale * conv(x) + shift`` per output channel."""
    conv.weight = nn.Parameter(conv.weight.detach() * scale[:, None, None, None], requires_grad=False)
    bias = shift if conv.bias is None else conv.bias.detach() * scale + shift
    conv.bias = nn.Parameter(bias, requires_grad=False)
