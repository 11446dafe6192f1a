"""Backward passes of our own give the gradients that autograd makes of the formulas."""

import pytest
import torch
from torch import Tensor

from search_spaces.operators import CompConv2d, SPConv2d, backward


def gradients(operator: torch.nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    out = operator(x)
    towards = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    return [out, *torch.autograd.grad(out, [x, *operator.parameters()], towards)]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "operator",
    [
        lambda stride: SPConv2d(16, 24, stride=stride, alpha=1 / 2, groups=2),
        lambda stride: CompConv2d(16, 24, stride=stride, depth=3),
        lambda stride: CompConv2d(4, 40, stride=stride, depth=3),  # wider than what it borrows from
        lambda stride: CompConv2d(16, 24, stride=stride, depth=2, identity="group"),
    ],
)
def test_gradients_are_autograds(operator, stride: int, layout: torch.memory_format, monkeypatch) -> None:
    torch.manual_seed(0)
    layer = operator(stride).to(memory_format=layout)
    x = torch.randn(6, layer.in_channels, 9, 9).contiguous(memory_format=layout)
    ours = gradients(layer, x)
    monkeypatch.setattr(backward, "eager", lambda _: False)
    for mine, autograds in zip(ours, gradients(layer, x), strict=True):
        torch.testing.assert_close(mine, autograds, rtol=1e-5, atol=1e-5 * float(autograds.detach().abs().max()))


def test_a_slice_of_a_gradient_is_made_whole() -> None:
    x = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    seen: list[Tensor] = []
    y = backward.whole_gradient(x * 2)
    y.register_hook(seen.append)
    torch.cat([y, y], dim=1).sum().backward()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
