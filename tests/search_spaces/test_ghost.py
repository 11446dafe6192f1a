"""The Ghost module against its paper: Eq. 2 and 3 by hand, Eq. 5's parameters by counting."""

import pytest
import torch
import torch.nn.functional as F

from search_spaces.operators import OPERATORS

from .test_operators import randomised

GhostConv2d = OPERATORS["ghost"]


@pytest.mark.parametrize("ratio", [1, 2, 3, 4])
@pytest.mark.parametrize("cheap", [1, 3, 5])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("channels", [(16, 24), (24, 32), (10, 7)])
def test_parameters_are_eq_5_and_batchnorm(ratio: int, cheap: int, kernel: int, channels: tuple[int, int]) -> None:
    c_in, c_out = channels
    operator = GhostConv2d(c_in, c_out, kernel, ratio=ratio, cheap_kernel=cheap)
    intrinsic = -(-c_out // ratio)
    eq_5 = kernel**2 * c_in * intrinsic + cheap**2 * (ratio - 1) * intrinsic
    assert sum(p.numel() for p in operator.parameters()) == eq_5 + 2 * ratio * intrinsic


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("ratio", "cheap"), [(2, 3), (3, 5), (4, 1)])
def test_ghosts_are_depthwise_of_the_intrinsic_maps(stride: int, ratio: int, cheap: int) -> None:
    """Each intrinsic map alone makes ``ratio - 1`` ghosts (Eq. 3); the output is cut where it has too many."""
    operator = randomised(GhostConv2d(6, 10, stride=stride, ratio=ratio, cheap_kernel=cheap)).eval()
    images = torch.randn(2, 6, 7, 5)
    maps = operator.primary[1](F.conv2d(images, operator.primary[0].weight, stride=stride, padding=1))
    kernels = operator.cheap[0].weight
    ghosts = [
        F.conv2d(maps[:, [j // (ratio - 1)]], kernels[[j]], padding=cheap // 2)
        for j in range((ratio - 1) * maps.shape[1])
    ]
    expected = torch.cat([maps, operator.cheap[1](torch.cat(ghosts, dim=1))], dim=1)[:, :10]
    torch.testing.assert_close(operator(images), expected)


def test_ratio_1_is_the_vanilla_convolution() -> None:
    operator = GhostConv2d(6, 10, ratio=1).eval()
    images = torch.randn(2, 6, 7, 5)
    expected = operator.primary[1](F.conv2d(images, operator.primary[0].weight, padding=1))
    assert torch.equal(operator(images), expected)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ratio": 0}, "Ghost: ratio must be an integer from 1 to the 16 channels, got 0"),
        ({"ratio": 1.5}, "got 1.5"),
        ({"ratio": 17}, "got 17"),
        ({"cheap_kernel": 2}, "Ghost: cheap_kernel must be odd and at least 1, got 2"),
        ({"cheap_kernel": -1}, "got -1"),
        ({"cheap_kernel": 1.5}, "got 1.5"),
    ],
)
def test_what_is_impossible_says_the_rule(wrong: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        GhostConv2d(16, 16, **wrong)
