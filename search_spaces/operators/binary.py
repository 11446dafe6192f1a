"""Binarised convolution, from *XNOR-Net* (Rastegari et al., ECCV 2016): signs in place of inputs and weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WEIGHTS_PER_PARAM = 32  # a binary weight is one bit of a float32 parameter
OPERATIONS_PER_FLOP = 64  # XNOR-Net, Section 4.1: one instruction does 64 binary multiply-adds


class Magnitude(nn.Module):
    """K of XNOR-Net's Eq. 11: the inputs' mean magnitude under the kernel: ``(B, C, H, W)`` → ``(B, groups, …)``."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.groups, self.kernel_size = conv.groups, conv.kernel_size
        self.geometry = (conv.stride, conv.padding, conv.dilation)

    def forward(self, x: Tensor) -> Tensor:
        magnitude = x.abs().unflatten(1, (self.groups, -1)).mean(2)
        stride, padding, dilation = self.geometry
        box = x.new_full((self.groups, 1, *self.kernel_size), 1 / (self.kernel_size[0] * self.kernel_size[1]))
        return F.conv2d(magnitude, box, None, stride, padding, dilation, self.groups)


class BinaryConv2d(nn.Conv2d):
    """``(sign(x̂) ⊛ sign(W)) ⊙ K·α``: XNOR-Net's Eq. 11, with the BatchNorm before it that centres the input (Fig. 3).

    α is the mean magnitude of each filter (Eq. 6). The signs' gradient passes straight through where |x| < 1 (Section
    3.1). Emulated in floating point: costs count a binary weight as 1/32 parameter and a binary multiply-add as 1/64
    FLOP (Section 4.1), latency is that of the emulation.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        with torch.device("meta"):
            super().__init__(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,  # type: ignore[arg-type]
                conv.stride,  # type: ignore[arg-type]
                conv.padding,  # type: ignore[arg-type]
                conv.dilation,  # type: ignore[arg-type]
                conv.groups,
                bias=False,
            )
        self.weight, self.bias = conv.weight, conv.bias
        self.norm = nn.BatchNorm2d(conv.in_channels, device=conv.weight.device, dtype=conv.weight.dtype)
        self.magnitude = Magnitude(conv)

    def forward(self, input: Tensor) -> Tensor:
        x = self.norm(input)
        alpha = self.weight.abs().mean((1, 2, 3))[:, None, None]
        scale = self.magnitude(x).repeat_interleave(self.out_channels // self.groups, dim=1) * alpha
        out = self._conv_forward(sign(x), sign(self.weight), None) * scale
        return out if self.bias is None else out + self.bias[:, None, None]

    def in_floats(self) -> nn.Conv2d:
        """The plain convolution, on the same parameters."""
        geometry = (self.in_channels, self.out_channels, self.kernel_size, self.stride, self.padding, self.dilation)
        with torch.device("meta"):
            conv = nn.Conv2d(*geometry, self.groups, bias=False)  # type: ignore[arg-type]
        conv.weight, conv.bias = self.weight, self.bias
        return conv


@contextmanager
def in_floats(module: nn.Module) -> Iterator[list[BinaryConv2d]]:
    """For a while, plain convolutions on the same weights stand in for the binary ones of ``module``; yields these."""
    binary = {name: m for name, m in module.named_modules() if isinstance(m, BinaryConv2d)}
    for name, conv in binary.items():
        module.set_submodule(name, conv.in_floats())
    try:
        yield list(binary.values())
    finally:
        for name, conv in binary.items():
            module.set_submodule(name, conv)


def sign(x: Tensor) -> Tensor:
    """1 where x ≥ 0, else −1; the gradient is that of x clipped to [−1, 1]."""
    clipped = x.clamp(-1, 1)
    return clipped + (torch.where(x >= 0, 1.0, -1.0).to(x.dtype) - clipped).detach()


def binarize(module: nn.Module) -> nn.Module:
    """Replace every convolution of ``module`` by its binary form, in place, with its weights; return the result."""
    if type(module) is nn.Conv2d:
        return BinaryConv2d(module)
    for parent in list(module.modules()):
        if isinstance(parent, BinaryConv2d):
            continue
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv2d:
                setattr(parent, name, BinaryConv2d(child))
    return module
