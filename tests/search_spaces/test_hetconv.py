"""HetConv against its paper: one dense convolution most of whose kernels are a single tap; Eq. 4 and 5 by counting."""

from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces.operators import OPERATORS, Operator

HetConv2d = OPERATORS["hetconv"]


@pytest.mark.parametrize("p", [1, 2, 4, 8])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("channels", [(16, 16), (8, 24), (32, 16)])
def test_parameters_are_eq_4_and_5(p: int, kernel: int, channels: tuple[int, int]) -> None:
    c_in, c_out = channels
    ratio = Fraction(kernel**2, p) + 1 - Fraction(1, p)
    parameters = sum(q.numel() for q in HetConv2d(c_in, c_out, kernel, p=p).parameters())
    assert parameters == c_in * c_out * ratio


def dense(operator: Operator, p: int) -> Tensor:
    """The weight of the one convolution that HetConv is: k×k kernels on a filter's own part, else a centre tap."""
    c_in, c_out, (rows, columns) = operator.in_channels, operator.out_channels, operator.kernel_size
    weight = torch.zeros(c_out, c_in, rows, columns)
    for o in range(c_out):
        part = o // (c_out // p)
        own = range(part * c_in // p, (part + 1) * c_in // p)
        big, small = iter(operator.gwc.weight[o]), iter(operator.pointwise.weight[o].flatten())
        for i in range(c_in):
            if i in own:
                weight[o, i] = next(big)
            else:
                weight[o, i, (rows - 1) // 2, (columns - 1) // 2] = next(small)
    return weight


@pytest.mark.parametrize("p", [2, 3, 6])
@pytest.mark.parametrize(
    "geometry",
    [
        {},
        {"stride": 2},
        {"kernel_size": 5, "stride": 3},
        {"padding": 0},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"padding": 2, "dilation": 2},
        {"kernel_size": (1, 3), "stride": (2, 1)},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_is_one_dense_convolution_with_single_taps(p: int, geometry: dict[str, Any], size: tuple[int, int]) -> None:
    operator = HetConv2d(6, 12, **geometry, p=p)
    images = torch.randn(2, 6, *size)
    how = {"stride": operator.stride, "padding": operator.padding, "dilation": operator.dilation}
    torch.testing.assert_close(operator(images), F.conv2d(images, dense(operator, p), **how), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("p", [0, 1.0, 3, 32])
def test_what_is_impossible_says_the_rule(p: float) -> None:
    with pytest.raises(ValueError, match=f"HetConv: p must divide the channels, got p={p} for 16 and 16"):
        HetConv2d(16, 16, p=p)
