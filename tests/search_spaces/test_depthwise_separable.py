"""Depthwise-separable and pointwise convolutions: parameters by counting, outputs by torch's own functions."""

import pytest
import torch
import torch.nn.functional as F

from search_spaces.operators import OPERATORS

from .test_operators import randomised


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("channels", [(16, 24), (7, 5)])
def test_parameters_are_the_formulas(kernel: int, channels: tuple[int, int]) -> None:
    """MobileNets, Section 3.1, and 2 a channel for the BatchNorm between the two; pointwise has no k."""
    c_in, c_out = channels
    separable = OPERATORS["depthwise_separable"](c_in, c_out, kernel)
    assert sum(p.numel() for p in separable.parameters()) == kernel**2 * c_in + c_in * c_out + 2 * c_in
    assert sum(p.numel() for p in OPERATORS["pointwise"](c_in, c_out, kernel).parameters()) == c_in * c_out


@pytest.mark.parametrize("stride", [1, 2])
def test_separable_is_each_channel_by_itself_and_then_all(stride: int) -> None:
    operator = randomised(OPERATORS["depthwise_separable"](6, 10, stride=stride)).eval()
    images = torch.randn(2, 6, 9, 7)
    kernels = operator.depthwise[0].weight
    alone = [F.conv2d(images[:, [c]], kernels[[c]], stride=stride, padding=1) for c in range(6)]
    expected = torch.einsum(
        "oi,bihw->bohw", operator.pointwise.weight[:, :, 0, 0], operator.depthwise[1](torch.cat(alone, 1))
    )
    torch.testing.assert_close(operator(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_pointwise_is_a_matrix_of_the_pooled_channels(kernel: int, stride: int) -> None:
    """Odd sizes: the last cell averages what is there."""
    operator = OPERATORS["pointwise"](6, 10, kernel, stride)
    images = torch.randn(2, 6, 9, 7)
    cells = F.avg_pool2d(images, stride, ceil_mode=True, count_include_pad=False)
    expected = torch.einsum("oi,bihw->bohw", operator.conv.weight[:, :, 0, 0], cells)
    torch.testing.assert_close(operator(images), expected, rtol=1e-4, atol=1e-5)
