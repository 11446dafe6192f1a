"""OctConv against its paper: chained, it is the network of two frequencies (Eq. 4) that is written out here."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.operators import OPERATORS, Operator

from .test_operators import randomised

OctConv2d = OPERATORS["octconv"]
Pair = tuple[Tensor, Tensor | None]  # high frequencies (B, C_H, H, W) and low ones (B, C_L, ⌈H/2⌉, ⌈W/2⌉)


def pooled(x: Tensor) -> Tensor:
    """2×2 averages; the last of an odd size over what is there."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


def octave(x: Pair, operator: Operator) -> Pair:
    """Eq. 4: ``Y_H = f(X_H; W_HH) + up(f(X_L; W_LH))``, ``Y_L = f(X_L; W_LL) + f(pool(X_H); W_HL)``."""
    high, low = x
    if operator.stride == (2, 2):
        high, low = pooled(high), None if low is None else pooled(low)
    path = {name: conv.weight for name, conv in operator.paths.items()}
    y_high = F.conv2d(high, path["HH"], padding=1)
    if low is not None:
        up = F.conv2d(low, path["LH"], padding=1).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        y_high = y_high + up[:, :, : high.shape[2], : high.shape[3]]
    if "HL" not in path:
        return y_high, None
    y_low = F.conv2d(pooled(high), path["HL"], padding=1)
    return y_high, y_low if low is None else y_low + F.conv2d(low, path["LL"], padding=1)


def normalised(x: Pair, bn: nn.BatchNorm2d) -> Pair:
    """BatchNorm, in eval mode, and ReLU of both parts; the high frequencies are the first channels."""
    parts, first = [], 0
    for part in x:
        ours = slice(first, first + part.shape[1])
        parts.append(
            F.relu(F.batch_norm(part, *(t[ours] for t in (bn.running_mean, bn.running_var, bn.weight, bn.bias))))
        )
        first = ours.stop
    return parts[0], parts[1]


@pytest.mark.parametrize("alpha", [1 / 8, 1 / 4, 1 / 2, 3 / 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (6, 10), (5, 11)])
def test_a_chain_is_the_network_of_two_frequencies(alpha: float, stride: int, size: tuple[int, int]) -> None:
    """The paper's first layer (α_in = 0), two in the middle, its last (α_out = 0); BatchNorm and ReLU between them."""
    convs = [
        OctConv2d(3, 8, alpha=alpha, alpha_in=0),
        OctConv2d(8, 16, alpha=alpha, stride=stride),
        OctConv2d(16, 8, alpha=alpha),
        OctConv2d(8, 5, alpha=alpha, alpha_out=0),
    ]
    norms = [randomised(nn.BatchNorm2d(conv.out_channels)).eval() for conv in convs[:-1]]
    images = torch.randn(2, 3, *size)
    x, out = (images, None), images
    for conv, bn in zip(convs, norms, strict=False):
        x = normalised(octave(x, conv), bn)
        out = F.relu(bn(conv(out)))
    high, low = octave(x, convs[-1])
    assert low is None
    torch.testing.assert_close(convs[-1](out), high, rtol=1e-4, atol=1e-5)


def test_the_low_frequencies_leave_at_half_the_resolution_four_times_each() -> None:
    low = OctConv2d(8, 8, alpha=1 / 2)(torch.randn(1, 8, 6, 6))[:, 4:]
    for row, column in ((0, 1), (1, 0), (1, 1)):
        assert torch.equal(low[:, :, row::2, column::2], low[:, :, ::2, ::2])


@pytest.mark.parametrize("alpha", [0, Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), 1])
def test_multiply_adds_are_table_1_and_parameters_vanilla(alpha: Fraction) -> None:
    operator = OctConv2d(16, 32, alpha=float(alpha))
    with FlopCounterMode(display=False) as counter:
        operator(torch.zeros(1, 16, 8, 8))
    vanilla = 9 * 16 * 32
    assert counter.get_total_flops() // 2 == vanilla * 64 * (1 - Fraction(3, 4) * alpha * (2 - alpha))
    assert sum(p.numel() for p in operator.parameters()) == vanilla


@pytest.mark.parametrize(
    ("params", "paths"),
    [
        ({}, {"HH", "HL", "LH", "LL"}),
        ({"alpha_in": 0}, {"HH", "HL"}),
        ({"alpha_out": 0}, {"HH", "LH"}),
        ({"alpha": 0}, {"HH"}),
        ({"alpha": 1}, {"LL"}),
        ({"alpha": 0, "alpha_out": 1}, {"HL"}),
        ({"alpha_in": 1, "alpha_out": 0}, {"LH"}),
    ],
)
def test_what_has_no_channels_has_no_convolution(params: dict, paths: set[str]) -> None:
    assert set(OctConv2d(8, 8, **params).paths) == paths


@pytest.mark.parametrize("stride", [1, 2])
def test_alpha_0_is_the_vanilla_convolution_after_pooling(stride: int) -> None:
    operator = OctConv2d(4, 6, stride=stride, alpha=0)
    images = torch.randn(1, 4, 8, 6)
    smaller = F.avg_pool2d(images, 2) if stride == 2 else images
    assert torch.equal(operator(images), F.conv2d(smaller, operator.paths["HH"].weight, padding=1))


def test_alpha_1_is_the_vanilla_convolution_at_half_the_resolution() -> None:
    operator = OctConv2d(4, 6, alpha=1)
    images = torch.randn(1, 4, 7, 6)
    small = F.conv2d(pooled(images), operator.paths["LL"].weight, padding=1)
    assert torch.equal(operator(images), F.interpolate(small, size=(8, 6), mode="nearest")[:, :, :7])


@pytest.mark.parametrize("wrong", [{"alpha": -0.1}, {"alpha": 2}, {"alpha_in": 2}, {"alpha_out": -1}])
def test_what_is_impossible_says_the_rule(wrong: dict) -> None:
    with pytest.raises(ValueError, match=rf"OctConv: alpha must be in \[0, 1\], got .*{next(iter(wrong.values()))}"):
        OctConv2d(16, 16, **wrong)
