"""CompConv against its paper: Eq. 5, 6 and 8, the identity mapping, the shuffle."""

import pytest
import torch
from torch import nn

from search_spaces.operators import CompConv2d
from search_spaces.operators.compconv import adaptive_depth, primary_channels
from search_spaces.operators.shuffle import shuffled_order

from .test_operators import randomised


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
    unshuffled[:, shuffled_order(28, 4)] = operator(images)
    borrowed = nn.functional.avg_pool2d(images, stride) if stride > 1 else images
    torch.testing.assert_close(unshuffled[:, :2], borrowed[:, :2])
    torch.testing.assert_close(unshuffled[:, 4:8], borrowed[:, :4])


def test_tail_is_a_depthwise_convolution_of_the_last_result() -> None:
    operator = CompConv2d(16, 28, depth=3)
    assert operator.tail[0].groups == operator.tail[0].in_channels == 8
    assert [unit[0].in_channels for unit in operator.units] == [4, 8]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("identity", ["fixed", "group", "random"])
def test_the_identity_mapping_is_the_asked_channels(stride: int, identity: str) -> None:
    """Depth 3, 28 channels: C_prim = 2, so that 2 channels are borrowed, then 4; 4 of the output's stay unlearned."""
    operator = CompConv2d(16, 28, stride=stride, depth=3, identity=identity, shuffle=False).eval()
    images = torch.randn(1, 16, 6, 6)
    order = [operator.get_buffer(f"borrowed_{i}") for i in range(2)] if identity == "random" else None
    first, second = order or {"fixed": ([0, 1], [0, 1, 2, 3]), "group": ([0, 8], [0, 4, 8, 12])}[identity]
    assert len(set(map(int, first))) == 2
    assert len(set(map(int, second))) == 4
    out, borrowed = operator(images), nn.functional.avg_pool2d(images, stride)
    torch.testing.assert_close(out[:, :2], borrowed[:, first])
    torch.testing.assert_close(out[:, 4:8], borrowed[:, second])


def test_groups_of_an_input_that_is_too_narrow_start_over() -> None:
    """3 input channels and 32 borrowed ones: all of them, as often as can be."""
    for identity in ("fixed", "group", "random"):
        operator = CompConv2d(3, 192, depth=2, identity=identity, shuffle=False).eval()
        images = torch.randn(1, 3, 4, 4)
        sources = (operator(images)[0, :32, None] == images[0]).all((2, 3)).int()
        assert sources.sum(1).tolist() == [1] * 32
        assert sorted(sources.sum(0).tolist()) == [10, 11, 11]


def test_random_channels_are_drawn_once_and_saved() -> None:
    operators = [CompConv2d(64, 56, depth=3, identity="random").eval() for _ in range(2)]
    one, other = (operator.get_buffer("borrowed_1") for operator in operators)
    assert one.tolist() != other.tolist()
    operators[1].load_state_dict(operators[0].state_dict())
    images = torch.randn(1, 64, 4, 4)
    assert torch.equal(operators[1](images), operators[0](images))


@pytest.mark.parametrize("stride", [1, 2])
def test_the_identity_mapping_can_be_a_1x1_convolution(stride: int) -> None:
    """It costs C_in·C and a BatchNorm, for each unit's C borrowed channels."""
    operator, plain = (CompConv2d(16, 28, stride=stride, depth=3, identity=i, shuffle=False) for i in ("conv", "fixed"))
    parameters, fewer = (sum(p.numel() for p in o.parameters()) for o in (operator, plain))
    assert parameters == fewer + sum(16 * c + 2 * c for c in (2, 4))
    images = torch.randn(1, 16, 6, 6)
    out, pooled = randomised(operator).eval()(images), nn.functional.avg_pool2d(images, stride)
    torch.testing.assert_close(out[:, :2], operator.projections[0](pooled))
    torch.testing.assert_close(out[:, 4:8], operator.projections[1](pooled))


def test_without_shuffle_the_channels_are_in_order() -> None:
    operator, plain = (CompConv2d(16, 28, depth=3, shuffle=s).eval() for s in (True, False))
    plain.load_state_dict(operator.state_dict())
    images = torch.randn(1, 16, 5, 5)
    assert torch.equal(operator(images), plain(images)[:, shuffled_order(28, 4)])


def test_even_rounds_the_primary_channels_up() -> None:
    assert [primary_channels(512, d, even=True) for d in (1, 2, 3, 4)] == [256, 86, 38, 18]
    operator = CompConv2d(64, 512, depth=3, even=True)
    assert operator.primary[0].out_channels == 38
    assert operator(torch.zeros(2, 64, 3, 3)).shape == (2, 512, 3, 3)


@pytest.mark.parametrize("depth", [-1, 1.5, 4])
def test_what_is_impossible_says_the_rule(depth: float) -> None:
    with pytest.raises(ValueError, match=r"must be an integer|too deep"):
        CompConv2d(16, 16, depth=depth)
