"""Backward passes in fewer rounds through memory than autograd makes of the same formulas: the same gradients."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def eager(x: Tensor) -> bool:
    """Whether there will be a backward pass through ``x`` that autograd makes: no graph is traced or exported."""
    return x.requires_grad and not torch.compiler.is_compiling() and not torch.jit.is_tracing()  # type: ignore[attr-defined]


def whole_gradient(x: Tensor) -> Tensor:
    """``x``, whose gradient will lie in memory as ``x`` does.

    Where it is part of a concatenation, its gradient is a slice, and BatchNorm's backward pass is three times slower
    on that than on a copy of it.
    """
    if eager(x):
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        x.register_hook(lambda gradient: gradient.contiguous(memory_format=layout))
    return x


def with_first(x: Tensor, counts: list[int]) -> tuple[Tensor, ...]:
    """``x`` and, for each count, its first channels; autograd would fill a whole tensor for the gradient of each."""
    if eager(x) and counts:
        return _WithFirst.apply(x, counts)
    return x, *(x[:, :count] for count in counts)


class _WithFirst(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> tuple[Tensor, ...]:
        ctx.counts = counts
        return x.view_as(x), *(x[:, :count] for count in counts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, whole: Tensor, *parts: Tensor) -> tuple[Tensor, None]:
        found = whole.clone()
        for count, part in zip(ctx.counts, parts, strict=True):
            found[:, :count] += part
        return found, None


def attention(u3: Tensor, u1: Tensor, gain: Tensor | None) -> Tensor:
    """SPConv's Eq. 4–6: ``β·U3 + (1 − β)·U1``, β the sigmoid of the difference of their means over the pixels."""
    if eager(u3) and gain is None:
        return _Attention.apply(u3, u1)
    return torch.lerp(u1, u3, _share(u3, u1, gain))


def _share(u3: Tensor, u1: Tensor, gain: Tensor | None) -> Tensor:
    """β, ``(B, C, 1, 1)``."""
    difference = F.adaptive_avg_pool2d(u3, 1) - F.adaptive_avg_pool2d(u1, 1)
    return torch.sigmoid(difference if gain is None else difference * gain)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u3: Tensor, u1: Tensor) -> Tensor:
        share = _share(u3, u1, None)
        ctx.save_for_backward(u3, u1, share)
        return torch.lerp(u1, u3, share)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Of U3 it is β·G + c, of U1 the rest of G; c is what each pixel's part in the means does."""
        u3, u1, share = ctx.saved_tensors
        of_share = (u3 - u1).mul_(gradient).mean((2, 3), keepdim=True)
        of_u3 = torch.addcmul(of_share * share * (1 - share), gradient, share)
        return of_u3, gradient - of_u3
