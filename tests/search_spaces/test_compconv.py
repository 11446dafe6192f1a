"""CompConv against its paper: Eq. 5, 6 and 8, the identity mapping, the shuffle."""

import pytest
import torch
from torch import nn

from search_spaces.operators import CompConv2d
from search_spaces.operators.compconv import adaptive_depth, primary_channels, shuffle, shuffled_order


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("channels", [(128, 128), (64, 256), (256, 120), (100, 210), (512, 512), (33, 100)])
def test_parameters_are_eq_8_and_batchnorm(depth: int, kernel: int, channels: tuple[int, int]) -> None:
    c_in, c_out = channels
    operator = CompConv2d(c_in, c_out, kernel, depth=depth)
    prim = primary_channels(c_out, depth)
    eq_8 = kernel**2 * (c_in * prim + sum((2**i * prim) ** 2 for i in range(1, depth)) + 2 ** (depth - 1) * prim)
    batchnorm = 2 * (sum(2**i * prim for i in range(depth)) + 2 ** (depth - 1) * prim)
    assert sum(p.numel() for p in operator.parameters()) == eq_8 + batchnorm


def test_primary_channels_are_eq_5() -> None:
    assert [primary_channels(512, d) for d in (1, 2, 3, 4)] == [256, 86, 37, 18]


def test_depth_is_eq_6() -> None:
    assert [adaptive_depth(c, 128) for c in (3, 64, 128, 255, 256, 512, 2048)] == [1, 1, 1, 1, 2, 3, 3]
    assert CompConv2d(256, 256).depth == 2  # C0 = 128 is the recommended default
    assert CompConv2d(256, 256, c0=64).depth == 3


def test_depth_0_is_the_vanilla_convolution() -> None:
    operator = CompConv2d(8, 12, depth=0)
    images = torch.randn(1, 8, 5, 5)
    assert torch.equal(operator(images), nn.functional.conv2d(images, operator.vanilla.weight, padding=1))


@pytest.mark.parametrize("stride", [1, 2])
def test_first_input_channels_reach_the_output(stride: int) -> None:
    """Depth 3, 28 channels: C_prim = 2, so X_A2 is channels 0–1 and X_A1 channels 0–3, pooled, before the shuffle."""
    operator = CompConv2d(16, 28, stride=stride, depth=3).eval()
    images = torch.randn(1, 16, 6, 6)
    unshuffled = torch.empty(1, 28, 6 // stride, 6 // stride)
    unshuffled[:, shuffled_order(28)] = operator(images)
    borrowed = nn.functional.avg_pool2d(images, stride) if stride > 1 else images
    torch.testing.assert_close(unshuffled[:, :2], borrowed[:, :2])
    torch.testing.assert_close(unshuffled[:, 4:8], borrowed[:, :4])


def test_tail_is_a_depthwise_convolution_of_the_last_result() -> None:
    operator = CompConv2d(16, 28, depth=3)
    assert operator.tail[0].groups == operator.tail[0].in_channels == 8
    assert [unit[0].in_channels for unit in operator.units] == [4, 8]


@pytest.mark.parametrize("channels", [8, 28, 64])
def test_shuffle_is_that_of_shufflenet(channels: int) -> None:
    images = torch.randn(2, channels, 3, 3)
    expected = nn.ChannelShuffle(4)(images)
    assert torch.equal(shuffle(images), expected)
    assert torch.equal(images[:, shuffled_order(channels)], expected)


def test_shuffle_of_other_channel_counts_is_a_permutation() -> None:
    assert sorted(shuffled_order(30).tolist()) == list(range(30))


@pytest.mark.parametrize("depth", [-1, 1.5, 4])
def test_what_is_impossible_says_the_rule(depth: float) -> None:
    with pytest.raises(ValueError, match=r"must be an integer|too deep"):
        CompConv2d(16, 16, depth=depth)
