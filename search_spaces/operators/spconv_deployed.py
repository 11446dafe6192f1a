"""SPConv as deployed: fewer passes over memory than the folded operator takes, and the same function."""

import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .base import pooled

LIMIT = 60.0  # of a logit, in either direction: beyond it one branch is lost in single precision


class FoldedSPConv(Protocol):
    """What a form is made from: an ``SPConv2d`` without BatchNorms."""

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    margins: tuple[int, int, int, int]
    bias: nn.Parameter | None
    representative: int
    groups: int
    heavy: Any
    fusion: Any
    gwc: nn.Conv2d
    pwc: nn.Conv2d
    has_redundant: bool
    redundant: nn.Conv2d
    attention_gain: Tensor | None

    def children(self) -> Iterator[nn.Module]: ...


def deployed_forms(operator: FoldedSPConv, size: tuple[int, int], on_gpu: bool) -> dict[str, nn.Module]:
    """All forms of a folded SPConv that have its function exactly at this input size ``(H, W)``, by name.

    ``grouped`` and ``dense`` run everywhere; ``epilogue`` and ``fused`` are for NVIDIA GPUs, where Triton is there.
    """
    binary = any(type(m) not in (nn.Conv2d, nn.Identity) for m in operator.children())
    if binary or reads_padding_alone(operator):
        return {}
    forms: dict[str, nn.Module] = {"grouped": DeployedSPConv(operator)}
    dense = dense_kernel(operator, size)
    if dense is not None and dense.shape != operator.gwc.weight.shape:
        forms["dense"] = DeployedSPConv(operator, dense)
    if on_gpu and dense is not None and importlib.util.find_spec("triton"):
        triton = importlib.import_module(f"{__package__}.spconv_triton")
        forms |= triton.triton_forms(operator, size)
    return {name: form.eval() for name, form in forms.items()}


def reads_padding_alone(operator: FoldedSPConv) -> bool:
    """Whether some windows lie in the padding: with channels_last, oneDNN up to 3.12 may crash there (its #5942)."""
    geometry = zip(operator.kernel_size, operator.padding, operator.dilation, strict=True)
    return any(p > d * (k - 1) for k, p, d in geometry)


class DeployedSPConv(nn.Module):
    """One k×k convolution and one matrix product: ``(B, C_in, H, W)`` → ``(B, C_out, H', W')``, best channels_last.

    The softmax of two is a sigmoid: out = β·U3 + (1 − β)·U1 = β·(U3 + e^{−d}·U1), where d is the logit of β, the
    difference of the means of U3 and U1. The mean of what is pointwise is the mean of its input, mapped. So the k×k
    convolution alone tells d, and both pointwise ones are then one matrix product, added to it in place.

    Args:
        operator: folded.
        dense: the kernel of its heavy part as a whole (``dense_kernel``); without one the groups stay.
    """

    def __init__(self, operator: FoldedSPConv, dense: Tensor | None = None) -> None:
        super().__init__()
        if dense is None and operator.heavy == "gwc-pwc":
            dense = heavy_kernel(operator)  # nothing is left to be grouped behind the pointwise one
        self.margins, self.stride = operator.margins, operator.stride
        self.heavy = heavy_conv(operator, dense)
        in_matrix = [operator.pwc] if dense is None and operator.heavy == "gwc+pwc" else []
        self.first = 0 if in_matrix else operator.representative  # channel that the matrix product reads
        self.added = operator.representative - self.first  # rows of the matrix that belong to U3
        in_matrix += [operator.redundant] if operator.has_redundant else []
        last = operator.in_channels if operator.has_redundant else operator.representative
        self.read = slice(self.first, last)
        matrix = [conv.weight.detach().flatten(1).t() for conv in in_matrix]
        self.register_buffer("matrix", torch.cat(matrix).contiguous() if matrix else None)
        self.matrix: Tensor | None
        self.attention = operator.has_redundant and operator.fusion == "attention"
        shift, gain = light_bias(operator), attention_gain(operator)
        if not self.attention and shift is not None:  # of a plain sum, the convolution takes it
            assert self.heavy.bias is not None
            self.heavy.bias.add_(shift)
        shift = shift if self.attention and shift is not None else torch.zeros_like(gain)
        self.register_buffer("shift", shift)
        self.register_buffer("gain", gain)
        self.register_buffer("offset", -shift * gain)
        if self.attention:
            self.register_buffer("to_logit", torch.cat([self._beside(), -self._light()]) * gain)
        self.shift: Tensor
        self.gain: Tensor
        self.offset: Tensor
        self.to_logit: Tensor

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        out = self.heavy(x[:, : self.heavy.in_channels]).contiguous(memory_format=torch.channels_last)
        if self.matrix is None:
            return out
        rows, pixels = _rows(out), _rows(pooled(x[:, self.read], self.margins, self.stride))
        if not self.attention:
            _add_product(rows, pixels, self.matrix)
        elif x.dtype in (torch.float32, torch.float64) and len(self._light()) <= rows.shape[1]:
            self._fuse_at_once(rows, pixels)
        else:
            rows = self._fuse_apart(rows, pixels)
        return rows.view(len(x), *out.shape[2:], -1).permute(0, 3, 1, 2)

    def _logit(self, rows: Tensor, pixels: Tensor) -> Tensor:
        """d: ``(B, H'·W', C_out)`` and ``(B, H'·W', C)`` → ``(B, 1, C_out)``."""
        logit = torch.addmm(self.offset, pixels.mean(1), self.to_logit).addcmul_(rows.mean(1), self.gain)
        return logit.clamp_(-LIMIT, LIMIT)[:, None]

    def _beside(self) -> Tensor:
        """What is pointwise in U3: ``(C, C_out)``."""
        assert self.matrix is not None
        return self.matrix[: self.added]

    def _light(self) -> Tensor:
        """What makes U1: ``(C, C_out)``."""
        assert self.matrix is not None
        return self.matrix[self.added :]

    def _fuse_at_once(self, rows: Tensor, pixels: Tensor) -> None:
        """In place: β·(rows + pixels · (the matrix, what makes U1 times e^{−d})) + (1 − β)·shift.

        The matrix is another one for each image, so maps must be large beside it.
        """
        assert self.matrix is not None
        logit = self._logit(rows, pixels)
        matrix = self.matrix.expand(len(rows), -1, -1).clone()
        matrix[:, self.added :] *= torch.exp(-logit)
        rows.baddbmm_(pixels, matrix)
        torch.addcmul(torch.sigmoid(-logit) * self.shift, rows, torch.sigmoid(logit), out=rows)

    def _fuse_apart(self, rows: Tensor, pixels: Tensor) -> Tensor:
        """Both branches, then one pass; in half precision, where e^{−d} has no room, and for small maps."""
        logit = self._logit(rows, pixels)
        if self.added:
            _add_product(rows, pixels[..., : self.added], self._beside())
        light = torch.addmm(self.shift, pixels[..., self.added :].flatten(0, 1), self._light())
        return light.view(rows.shape).lerp_(rows, torch.sigmoid(logit))


def _add_product(rows: Tensor, pixels: Tensor, matrix: Tensor) -> None:
    """``rows += pixels @ matrix``."""
    rows.flatten(0, 1).addmm_(pixels.flatten(0, 1), matrix)


def _rows(x: Tensor) -> Tensor:
    """``(B, C, H, W)``, channels_last → ``(B, H·W, C)`` without a copy."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def heavy_conv(operator: FoldedSPConv, dense: Tensor | None) -> nn.Conv2d:
    """The k×k convolution with the heavy part's bias: the grouped one, or a dense one in its place."""
    weight = operator.gwc.weight.detach() if dense is None else dense
    groups = operator.groups if dense is None else 1
    geometry = (operator.kernel_size, operator.stride, operator.padding, operator.dilation, groups)
    conv = nn.Conv2d(operator.representative, operator.out_channels, *geometry, device="meta").requires_grad_(False)
    conv.weight = nn.Parameter(weight.clone(memory_format=torch.channels_last), requires_grad=False)
    conv.bias = nn.Parameter(heavy_bias(operator), requires_grad=False)
    return conv


def heavy_bias(operator: FoldedSPConv) -> Tensor:
    """Of U3, with the operator's own: ``(C_out,)``."""
    biases = [c.bias for c in (operator.gwc, getattr(operator, "pwc", None)) if c is not None and c.bias is not None]
    biases += [operator.bias] if operator.bias is not None else []
    zero = operator.gwc.weight.new_zeros(operator.out_channels)
    return zero.add_(sum(b.detach() for b in biases)) if biases else zero


def light_bias(operator: FoldedSPConv) -> Tensor | None:
    """Of U1, with the operator's own where attention weighs U1: ``(C_out,)``."""
    if not operator.has_redundant:
        return None
    own = operator.bias if operator.fusion == "attention" else None  # β + (1 − β) = 1: both branches have it
    biases = [b.detach() for b in (operator.redundant.bias, own) if b is not None]
    return torch.stack(biases).sum(0) if biases else None


def attention_gain(operator: FoldedSPConv) -> Tensor:
    """What the difference of the means is multiplied by: ``(C_out,)``."""
    gain = operator.attention_gain
    return operator.gwc.weight.new_ones(operator.out_channels) if gain is None else gain.detach().flatten().clone()


def heavy_kernel(operator: FoldedSPConv) -> Tensor:
    """The k×k kernel of the heavy part, groups written out, without what is beside it: ``(C_out, αL, kh, kw)``."""
    weight = operator.gwc.weight.detach()
    if operator.groups > 1:
        outputs, inputs = weight.shape[0] // operator.groups, weight.shape[1]
        dense = weight.new_zeros(weight.shape[0], operator.representative, *weight.shape[2:])
        for g in range(operator.groups):
            block = slice(g * outputs, (g + 1) * outputs)
            dense[block, g * inputs : (g + 1) * inputs] = weight[block]
        weight = dense
    if operator.heavy == "gwc-pwc":
        weight = torch.einsum("om,mikl->oikl", operator.pwc.weight.detach()[:, :, 0, 0], weight)
    return weight


def dense_kernel(operator: FoldedSPConv, size: tuple[int, int]) -> Tensor | None:
    """The heavy part as one kernel ``(C_out, αL, kh, kw)``, or ``None`` where it is none at this input size.

    The pointwise convolution beside it is the kernel's centre; behind a pooling it is spread over the pooled taps,
    which the kernel must have. So all pooled cells must be full.
    """
    weight = heavy_kernel(operator)
    if operator.heavy != "gwc+pwc":
        return weight
    rows, columns = (_pooled_taps(operator, axis, size[axis]) for axis in (0, 1))
    if rows is None or columns is None:
        return None
    dense = weight.clone() if weight.dtype == torch.float64 else weight.float().clone()
    share = operator.pwc.weight.detach()[:, :, 0, 0].to(dense) / (len(rows) * len(columns))
    for a in rows:
        for b in columns:
            dense[:, :, a, b] += share
    return dense.to(weight)


def _pooled_taps(operator: FoldedSPConv, axis: int, length: int) -> list[int] | None:
    """Which taps of the kernel read the cell that ``on_output_grid`` pools, in one direction."""
    k, s, d, p = (v[axis] for v in (operator.kernel_size, operator.stride, operator.dilation, operator.padding))
    reach = d * (k - 1)
    offsets = [reach // 2 + t for t in range(s)]
    ragged = s > 1 and (length + 2 * p - reach) % s
    if ragged or any(o % d or o // d >= k for o in offsets):
        return None
    return [o // d for o in offsets]
