"""The selective kernel convolution against its paper: Eq. 1–6 written out, the parameters by counting."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.operators import OPERATORS, Operator

from .test_operators import randomised

SelectiveKernelConv2d = OPERATORS["selective_kernel"]


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("reduction", [2, 16])
@pytest.mark.parametrize("channels", [(16, 24), (32, 128)])
def test_parameters_are_those_of_the_parts(groups: int, reduction: int, channels: tuple[int, int]) -> None:
    """Two grouped convolutions, the squeeze to d = max(C/r, 32) (Eq. 4), two matrices of Eq. 5, and BatchNorm."""
    c_in, c_out = channels
    operator = SelectiveKernelConv2d(c_in, c_out, groups=groups, reduction=reduction)
    d = max(c_out // reduction, 32)
    expected = 2 * (9 * c_in * c_out // groups + 2 * c_out) + c_out * d + 2 * d + 2 * c_out * d
    assert sum(p.numel() for p in operator.parameters()) == expected


def normalised(x: Tensor, bn: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    """BatchNorm, in eval mode, and ReLU."""
    return F.relu(F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps))


def reference(operator: Operator, images: Tensor, stride: int, groups: int) -> Tensor:
    """Eq. 1–6 for a 3×3 kernel: ``(B, C_in, H, W)`` → ``(B, C_out, H', W')``."""
    (near, near_bn), (far, far_bn) = operator.near, operator.far
    u_near = normalised(F.conv2d(images, near.weight, None, stride, 1, 1, groups), near_bn)
    u_far = normalised(F.conv2d(images, far.weight, None, stride, 2, 2, groups), far_bn)
    s = (u_near + u_far).mean((2, 3))  # Eq. 1 and 2
    z = normalised(s @ operator.squeeze.weight.T, operator.squeeze_norm)  # Eq. 3
    a, b = operator.select.weight.chunk(2)
    scores = torch.stack([z @ a.T, z @ b.T])
    towards_near, towards_far = scores.exp() / scores.exp().sum(0)  # Eq. 5
    return towards_near[:, :, None, None] * u_near + towards_far[:, :, None, None] * u_far  # Eq. 6


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_output_is_the_papers(stride: int, groups: int, size: tuple[int, int]) -> None:
    operator = randomised(SelectiveKernelConv2d(8, 12, stride=stride, groups=groups)).eval()
    images = torch.randn(3, 8, *size)
    torch.testing.assert_close(operator(images), reference(operator, images, stride, groups), rtol=1e-4, atol=1e-5)


def test_a_batch_of_one_is_squeezed_with_the_running_statistics() -> None:
    """It has no statistics of its own; neither do the running ones move."""
    operator = SelectiveKernelConv2d(8, 8, groups=2)
    before = {name: b.clone() for name, b in operator.squeeze_norm.named_buffers()}
    operator(torch.randn(1, 8, 5, 5))
    assert all(torch.equal(b, before[name]) for name, b in operator.squeeze_norm.named_buffers())
    operator(torch.randn(2, 8, 5, 5))
    assert not torch.equal(operator.squeeze_norm.running_mean, before["running_mean"])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"groups": 3}, "SK: groups must divide the channels, got groups=3"),
        ({"groups": 0}, "SK: groups must be an integer of at least 1, got 0"),
        ({"groups": 2, "reduction": 0}, "SK: reduction must be .*at least 1, got 0"),
        ({"groups": 2, "reduction": 1.5}, "SK: reduction must be an integer .* got 1.5"),
    ],
)
def test_what_is_impossible_says_the_rule(wrong: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SelectiveKernelConv2d(64, 64, **wrong)
