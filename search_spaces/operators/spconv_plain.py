"""SPConv of plain nodes only, for graphs that another runtime is given, such as ONNX."""

import torch
from torch import Tensor, nn

from .base import pooled, rescale
from .spconv_deployed import FoldedSPConv, attention_gain, dense_kernel, heavy_conv, light_bias, reads_padding_alone


def plain_forms(operator: FoldedSPConv, size: tuple[int, int]) -> dict[str, nn.Module]:
    """All of a folded SPConv that have its function exactly at this input size ``(H, W)``, by name."""
    binary = any(type(m) not in (nn.Conv2d, nn.Identity) for m in operator.children())
    if binary or reads_padding_alone(operator):
        return {}
    forms: dict[str, nn.Module] = {"plain": PlainSPConv(operator)} if operator.heavy == "gwc+pwc" else {}
    dense = dense_kernel(operator, size)
    if dense is not None:
        forms["plain dense"] = PlainSPConv(operator, dense)
    return {name: form.eval() for name, form in forms.items()}


class PlainSPConv(nn.Module):
    """``(B, C_in, H, W)`` → ``(B, C_out, H', W')``: U3 + (β − 1)·(U3 − U1), whose difference is a sum with −U1.

    So a runtime can add while it convolves, and multiplies once by a vector for each image.

    Args:
        operator: folded.
        dense: the kernel of its heavy part as a whole (``dense_kernel``); without one the groups stay.
    """

    def __init__(self, operator: FoldedSPConv, dense: Tensor | None = None) -> None:
        super().__init__()
        self.representative, self.attention = operator.representative, operator.fusion == "attention"
        self.margins, self.stride = operator.margins, operator.stride
        self.heavy = heavy_conv(operator, dense)
        self.beside = None if dense is not None else _without_bias(operator.pwc)
        self.light = None
        if operator.has_redundant:
            light = _without_bias(operator.redundant)
            shift = light_bias(operator)
            ones = torch.ones(operator.out_channels, dtype=light.weight.dtype)
            rescale(light, -ones if self.attention else ones, _signed(shift, self.attention))
            self.light = light
        self.register_buffer("gain", attention_gain(operator).view(-1, 1, 1) if self.attention else None)
        self.gain: Tensor

    def forward(self, x: Tensor) -> Tensor:
        front, rest = x[:, : self.representative], x[:, self.representative :]
        heavy = self.heavy(front)
        if self.beside is not None:
            heavy = heavy + self.beside(pooled(front, self.margins, self.stride))
        if self.light is None:
            return heavy
        difference = heavy + self.light(pooled(rest, self.margins, self.stride))
        if not self.attention:
            return difference  # a sum, that is
        means = nn.functional.adaptive_avg_pool2d(difference, 1)
        return heavy + difference * (torch.sigmoid(means * self.gain) - 1)


def _signed(shift: Tensor | None, negated: bool) -> Tensor | None:
    return shift if shift is None or not negated else -shift


def _without_bias(conv: nn.Conv2d) -> nn.Conv2d:
    """A copy; its bias is accounted for elsewhere."""
    made = nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=False, device="meta").requires_grad_(False)
    made.weight = nn.Parameter(conv.weight.detach().clone(), requires_grad=False)
    return made
