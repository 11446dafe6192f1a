"""CompConv, from *CompConv: A Compact Convolution Module for Efficient Feature Learning* (Zhang et al., CVPRW 2021)."""

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..checks import require_known
from .backward import whole_gradient, with_first
from .base import Operator, Size, absorb, conv_bn, fold_conv_bn, he_init, same
from .inheriting import assign, conv_of, fit_conv_bn, undo_conv_bn
from .shuffle import shuffle, shuffled_order

Identity = Literal["fixed", "group", "random", "conv"]
SHUFFLE_GROUPS = 4
MAX_ADAPTIVE_DEPTH = 3


def adaptive_depth(in_channels: int, c0: int) -> int:
    """Eq. 6, rounded down: ``min(log2(max(1, C_in / C_0)) + 1, 3)``."""
    if c0 < 1:
        raise ValueError(f"CompConv: c0 must be at least 1, got {c0}")
    return min(math.floor(math.log2(max(1.0, in_channels / c0))) + 1, MAX_ADAPTIVE_DEPTH)


def primary_channels(out_channels: int, depth: int, even: bool = False) -> int:
    """C_prim of Eq. 5: ``⌈C_out / (2·(2^d − 1))⌉``; rounded up to an even number if ``even``."""
    prim = -(-out_channels // (2 * (2**depth - 1)))
    return prim + prim % 2 if even else prim


class CompConv2d(Operator):
    """Compute half of the channels, borrow the other half from the input, and recurse.

    The smallest unit convolves the whole input to C_prim channels. Each further unit concatenates as many channels of
    the input (the identity mapping *fixed*: the first ones, average-pooled where the stride is not 1) with the last
    result and convolves them, so that the width doubles (Eq. 3). The tailing channels X_A0 come from X_B0 by a
    depthwise convolution. The output is all of it, concatenated, cut to C_out (superfluous channels are the last of
    X_A0) and shuffled in 4 groups. Each learned convolution has a BatchNorm; the units are linear, as Eq. 3 is.

    Parameters: k²·(C_in·C_prim + Σ_{i=1}^{d−1} (2^i·C_prim)² + 2^{d−1}·C_prim) (Eq. 8), plus 2 a channel for BatchNorm.

    Where the paper is silent: an identity mapping wider than the input starts over at the first channel; channels
    that 4 does not divide are shuffled as if padded to a multiple of 4.

    Args:
        depth: d; 0 is the vanilla convolution; ``None`` follows Eq. 6 from ``c0``.
        c0: C_0 of Eq. 6; used only where ``depth`` is ``None``.
        identity: which input channels are borrowed (Table 2): ``fixed``, the first ones; ``group``, the first of as
            many even groups; ``random``, drawn once, when the operator is made; ``conv``, a 1×1 convolution of all.
        shuffle: whether the output is shuffled (Table 1).
        even: round C_prim up to an even number: not in the text, but what the paper's tables are counted with.

    Raises:
        ValueError: a negative depth, or one so deep that X_A0 has fewer channels than are superfluous.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size | None = None,
        *,
        depth: int | None = None,
        c0: int = 128,
        identity: Identity = "fixed",
        shuffle: bool = True,
        even: bool = False,
        dilation: Size = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation=dilation)
        self.depth = adaptive_depth(in_channels, c0) if depth is None else depth
        require_known("identity of CompConv", identity, get_args(Identity))
        self.shuffled, self.identity = shuffle, identity
        _check_depth(out_channels, self.depth, even)
        geometry = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        if self.depth == 0:
            self.vanilla = he_init(nn.Conv2d(in_channels, out_channels, self.kernel_size, bias=False, **geometry))  # type: ignore[arg-type]
            return
        prim = primary_channels(out_channels, self.depth, even)
        self.primary = conv_bn(in_channels, prim, self.kernel_size, **geometry)
        inner: dict[str, Any] = {"padding": same(self.kernel_size, self.dilation), "dilation": self.dilation}
        widths = [prim * 2**i for i in range(1, self.depth)]
        self.units = nn.ModuleList(conv_bn(w, w, self.kernel_size, **inner) for w in widths)
        last = prim * 2 ** (self.depth - 1)
        self.tail = conv_bn(last, last, self.kernel_size, groups=last, **inner)
        borrowed = [width // 2 for width in widths]
        self.projections = nn.ModuleList(conv_bn(in_channels, c, 1) for c in borrowed if identity == "conv")
        for i, channels in enumerate(borrowed):
            self.register_buffer(f"borrowed_{i}", _borrowed(identity, in_channels, channels))

    def _forward(self, x: Tensor) -> Tensor:
        if self.depth == 0:
            return self.vanilla(x)
        x, *borrowed = self._with_borrowed(x)
        result = whole_gradient(self.primary(x))
        parts = []
        for unit, first in zip(self.units, borrowed, strict=True):
            joined = torch.cat([first, result], dim=1)
            parts.append(joined)
            result = whole_gradient(unit(joined))
        superfluous = sum(part.shape[1] for part in parts) + 2 * result.shape[1] - self.out_channels
        tail = whole_gradient(self.tail(result))
        parts += [result, tail[:, : tail.shape[1] - superfluous] if superfluous else tail]
        out = torch.cat(parts, dim=1)
        return shuffle(out, SHUFFLE_GROUPS) if self.shuffled else out

    def _with_borrowed(self, x: Tensor) -> tuple[Tensor, ...]:
        """The input, and what each unit borrows of it."""
        counts = [conv_of(unit).in_channels // 2 for unit in self.units]
        if self.identity != "fixed" or max(counts, default=0) > x.shape[1]:
            return x, *(self.borrow(x, i) for i in range(len(counts)))
        x, *first = with_first(x, counts)
        return x, *(self.on_output_grid(part) for part in first)

    def borrow(self, x: Tensor, unit: int) -> Tensor:
        """The identity mapping for one unit, on the output's grid: ``(B, C_in, H, W)`` → ``(B, channels, H', W')``."""
        if self.identity == "conv":
            return self.projections[unit](self.on_output_grid(x))
        if self.identity != "fixed":
            return self.on_output_grid(x[:, self.get_buffer(f"borrowed_{unit}")])
        channels = self.units[unit][0].in_channels // 2  # type: ignore[index]
        if channels > x.shape[1]:
            x = x.repeat(1, -(-channels // x.shape[1]), 1, 1)
        return self.on_output_grid(x[:, :channels])

    def borrow_from(self, order: Tensor) -> None:
        """Borrow the same channels where they come in another order: channel i is now ``order[i]``; ``(C_in,)``."""
        if self.identity == "conv":
            return
        for i, unit in enumerate(self.units):
            channels = torch.arange(conv_of(unit).in_channels // 2) % self.in_channels
            if self.identity != "fixed":
                channels = self.get_buffer(f"borrowed_{i}").cpu()
            self.register_buffer(f"borrowed_{i}", order[channels].to(conv_of(unit).weight.device))
        if self.identity == "fixed":
            self.identity = "group"

    def _inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """Every learned part gives the dense layer's outputs where it is part of the output, by least squares.

        The smallest unit is cut out of the dense kernel; the others see what the operator gives before them. What is
        borrowed from the input is what it is.
        """
        if self.depth == 0:
            assign(self.vanilla, weight)
            return
        if self.shuffled:
            before = torch.argsort(shuffled_order(self.out_channels, SHUFFLE_GROUPS)).to(outputs.device)
            weight, outputs = weight[before], outputs[:, before]
        primary, widths = conv_of(self.primary), [conv_of(unit).in_channels // 2 for unit in self.units]
        start = widths[0] if widths else 0
        assign(primary, weight[start : start + primary.out_channels])
        result = undo_conv_bn(self.primary, inputs, outputs[:, start : start + primary.out_channels])
        start = 0
        for i, (unit, width) in enumerate(zip(self.units, widths, strict=True)):
            if self.identity == "conv":
                fit_conv_bn(self.projections[i], self.on_output_grid(inputs), outputs[:, start : start + width])
            joined = torch.cat([self.borrow(inputs, i), result], dim=1)
            start += 2 * width
            first = start + (2 * width if i + 1 < len(widths) else 0)  # the next unit's borrowed channels come first
            result = fit_conv_bn(unit, joined, outputs[:, first : first + 2 * width])
        fit_conv_bn(self.tail, result, outputs[:, start + result.shape[1] :])

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        """``following`` can't be absorbed (but at depth 0): it also acts on the channels borrowed from the input."""
        if self.depth == 0:
            return absorb(self.vanilla, following)
        for block in (self.primary, *self.units, self.tail, *self.projections):
            assert isinstance(block, nn.Sequential)
            fold_conv_bn(block)
        return False

    @classmethod
    def resolved(cls, in_channels: int, /, **params: Any) -> dict[str, Any]:
        """C_0 becomes the depth of Eq. 6; what has no meaning at that depth is left out."""
        depth = (
            params["depth"] if params.get("depth") is not None else adaptive_depth(in_channels, params.get("c0", 128))
        )
        if depth == 0:
            return {"depth": 0}
        written = super().resolved(in_channels, **params)
        unused = {"c0", "identity"} if depth == 1 else {"c0"}
        return {name: value for name, value in written.items() if name not in unused} | {"depth": depth}

    @classmethod
    def stand_in(cls, in_channels: int, out_channels: int, /, **params: Any) -> dict[str, Any]:
        """The deepest recursion, not deeper than asked, that these channels can hold."""
        even = params.get("even", False)
        depth = next(d for d in range(params["depth"], -1, -1) if _superfluous_fit(out_channels, d, even))
        return {**params, "depth": depth} if depth else {"depth": 0}


def _borrowed(identity: Identity, in_channels: int, channels: int) -> Tensor | None:
    """The input channels that one unit borrows, where they are not the first: ``(channels,)``."""
    if identity == "group":
        return torch.arange(channels) * in_channels // channels
    if identity == "random":
        return torch.cat([torch.randperm(in_channels) for _ in range(0, channels, in_channels)])[:channels]
    return None


def _superfluous_fit(out_channels: int, depth: int, even: bool) -> bool:
    """Whether X_A0 has at least as many channels as Eq. 5's rounding makes superfluous."""
    if depth == 0:
        return True
    prim = primary_channels(out_channels, depth, even)
    return 2 * (2**depth - 1) * prim - out_channels <= 2 ** (depth - 1) * prim


def _check_depth(out_channels: int, depth: int, even: bool) -> None:
    if not isinstance(depth, int) or depth < 0:
        raise ValueError(f"CompConv: depth must be an integer of at least 0, got {depth!r}")
    if not _superfluous_fit(out_channels, depth, even):
        raise ValueError(
            f"CompConv: superfluous channels are dropped from X_A0, which must have as many; "
            f"depth {depth} is too deep for {out_channels} output channels"
        )
