"""Binary convolutions against XNOR-Net: Eq. 11 by unfolding, the gradient of the signs, and what they cost."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.cost.flops import count_flops, count_params, trace_flops
from search_spaces import Choice, Slot, convert
from search_spaces.operators import OPERATORS, binarize
from search_spaces.operators.binary import BinaryConv2d, sign

from .test_operators import randomised

GEOMETRIES: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": (1, 5), "padding": (0, 2)},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "padding": 1, "groups": 2},
    {"kernel_size": 3, "padding": 1, "groups": 4, "stride": 2},
]


def reference(conv: BinaryConv2d, images: Tensor) -> Tensor:
    """``(sign(x̂) ⊛ sign(W)) ⊙ K·α``, and the bias, by unfolding: ``(B, C_in, H, W)`` → ``(B, C_out, pixels)``."""
    x, groups, batch = conv.norm(images), conv.groups, len(images)
    geometry = (conv.kernel_size, conv.dilation, conv.padding, conv.stride)
    patches = F.unfold(torch.where(x >= 0, 1.0, -1.0), *geometry)
    patches = patches.view(batch, groups, -1, patches.shape[-1])
    weights = torch.where(conv.weight >= 0, 1.0, -1.0).view(groups, conv.out_channels // groups, -1)
    out = torch.einsum("goi,bgil->bgol", weights, patches)
    magnitudes = F.unfold(x.abs(), *geometry).view_as(patches).mean(2)  # A ⊛ k: means over channels and the kernel
    alpha = conv.weight.abs().mean((1, 2, 3)).view(groups, -1, 1)
    return (out * magnitudes[:, :, None] * alpha).flatten(1, 2) + (0 if conv.bias is None else conv.bias[:, None])


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_output_is_eq_11(geometry: dict[str, Any], size: tuple[int, int]) -> None:
    conv = randomised(BinaryConv2d(nn.Conv2d(8, 12, **geometry))).eval()
    images = torch.randn(2, 8, *size)
    torch.testing.assert_close(conv(images).flatten(2), reference(conv, images), rtol=1e-4, atol=1e-5)


def test_the_signs_gradient_passes_where_the_magnitude_is_at_most_1() -> None:
    x = torch.tensor([-2.0, -0.99, -0.5, 0.0, 0.5, 0.99, 1.01], requires_grad=True)
    signs = sign(x)
    assert signs.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    (signs * torch.arange(1.0, 8)).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


def test_weights_and_the_norm_are_kept() -> None:
    conv = nn.Conv2d(4, 4, 3, bias=False)
    network = nn.Sequential(conv, nn.ReLU())
    assert binarize(network) is network
    assert network[0].weight is conv.weight
    assert [name for name, _ in network.named_parameters()] == ["0.weight", "0.norm.weight", "0.norm.bias"]
    binary = network[0]
    assert binarize(network)[0] is binary


@pytest.mark.parametrize("name", OPERATORS)
def test_every_convolution_of_an_operator_is_binary(name: str) -> None:
    own = {"groups": 4} if name == "selective_kernel" else {}
    slot = Slot("conv", 16, 32, (3, 3), (2, 2), (1, 1), (1, 1))
    plain, binary = (Choice.of(name, **own, **also).build(slot) for also in ({}, {"binary": True}))
    convs = [type(m) for m in plain.modules() if isinstance(m, nn.Conv2d)]
    assert [type(m) for m in binary.modules() if isinstance(m, nn.Conv2d)] == [BinaryConv2d] * len(convs)
    assert plain.state_dict().keys() <= binary.state_dict().keys()


@pytest.mark.parametrize(("channels", "kernel"), [((16, 32), 3), ((3, 5), 3), ((1, 1), 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_costs_are_a_32nd_and_a_64th_rounded_up(channels: tuple[int, int], kernel: int, stride: int) -> None:
    """Beside them: K, a convolution of one channel, and the BatchNorm, 2 an element; both in floating point."""
    c_in, c_out = channels
    slot = Slot("conv", c_in, c_out, (kernel, kernel), (stride, stride), (kernel // 2, kernel // 2), (1, 1))
    operator = Choice.of("vanilla", binary=True).build(slot)
    weights, outputs = kernel**2 * c_in * c_out, -(-9 // stride) * -(-7 // stride)
    assert count_params(operator) == -(-weights // 32) + 2 * c_in
    counted = count_flops(operator, (1, c_in, 9, 7))
    assert counted == -(-weights * outputs // 64) + kernel**2 * outputs + 2 * c_in * 63


def test_costs_are_rounded_layer_by_layer() -> None:
    """Grouped convolutions have one K a group."""
    slot = Slot("conv", 3, 6, (3, 3), (1, 1), (1, 1), (1, 1))
    operator = Choice.of("ghost", binary=True).build(slot)  # 3 → 3 dense, 3 → 3 depthwise
    assert count_params(operator) == -(-81 // 32) + -(-27 // 32) + 2 * (3 + 3) + 2 * (3 + 3)
    dense, depthwise = 81 * 49, 27 * 49
    assert -(-dense // 64) + -(-depthwise // 64) > -(-(dense + depthwise) // 64)
    floating = (9 * 49) + (3 * 9 * 49) + 2 * (2 * 3 * 49)
    assert count_flops(operator, (1, 3, 7, 7)) == -(-dense // 64) + -(-depthwise // 64) + floating


def test_a_layer_with_two_names_is_counted_twice_and_has_its_parameters_once() -> None:
    once = Choice.of("vanilla", binary=True).build(Slot("conv", 8, 8, (3, 3), (1, 1), (1, 1), (1, 1))).eval()
    twice = nn.Sequential(once, once)
    assert count_params(twice) == count_params(once)
    assert trace_flops(twice, (1, 8, 8, 8)) == 2 * trace_flops(once, (1, 8, 8, 8))


def test_a_converted_network_trains_and_keeps_its_type() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)).double()
    convert(network, {"0": Choice.of("vanilla", binary=True)})
    out = network(torch.randn(2, 8, 5, 5, dtype=torch.float64))
    out.square().sum().backward()
    assert out.dtype == torch.float64
    assert all(p.grad is not None for p in network.parameters())
