"""The contract of every operator: a drop-in for ``nn.Conv2d`` that trains, saves, folds, and knows its stand-in."""

import copy
import io

import pytest
import torch
from torch import nn

from search_spaces import fold
from search_spaces.operators import OPERATORS, CompConv2d, SPConv2d, VanillaConv2d

SETTINGS = {
    "vanilla": [{}],
    "spconv": [{}, {"alpha": 1 / 4, "groups": 4}, {"alpha": 1 / 16, "groups": 1}, {"alpha": 1, "groups": 2}],
    "compconv": [{}, *({"depth": d} for d in range(4))],
}
CASES = [(name, params) for name in OPERATORS for params in SETTINGS[name]]
GEOMETRIES = [
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2, "padding": 0},
    {"kernel_size": 5, "stride": 2},
    {"kernel_size": 3, "padding": 0},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 7, "stride": 2, "padding": 3},
    {"kernel_size": (1, 3), "stride": (2, 1)},
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 3},
]


def randomised(module: nn.Module) -> nn.Module:
    """Statistics and scales unlike those of a fresh network, as after training; some scales are 0 or negative."""
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean)
            nn.init.uniform_(m.running_var, 0.5, 2)
            nn.init.normal_(m.weight)
            nn.init.normal_(m.bias)
            with torch.no_grad():
                m.weight[0] = 0
    return module


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (14, 13)])
def test_shape_is_that_of_conv2d(name: str, params: dict, geometry: dict, size: tuple[int, int]) -> None:
    padded = {"padding": VanillaConv2d(1, 1, **geometry).padding, **geometry}
    expected = nn.Conv2d(32, 48, **padded)(torch.zeros(1, 32, *size)).shape
    assert OPERATORS[name](32, 48, **geometry, **params).eval()(torch.zeros(1, 32, *size)).shape == expected


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("stride", [1, 2])
def test_every_parameter_learns(name: str, params: dict, stride: int) -> None:
    operator = OPERATORS[name](16, 32, stride=stride, **params)
    operator(torch.randn(4, 16, 9, 9)).square().sum().backward()
    assert [n for n, p in operator.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("channels", [(13, 7), (7, 31), (64, 65), (65, 64), (3, 10)])
def test_channels_that_divide_into_nothing_work_or_are_refused(name: str, params: dict, channels: tuple) -> None:
    groups = params.get("groups", 2) if name == "spconv" else 1
    try:
        operator = OPERATORS[name](*channels, **params)
    except ValueError:
        with pytest.raises(ValueError, match=r"must (divide|be at least one channel|have as many)"):
            OPERATORS[name](*channels, **params)
        assert groups > 1 or params.get("alpha", 1) < 1 / 2 or params.get("depth", 1) > 1
    else:
        assert operator(torch.randn(2, channels[0], 5, 6)).shape == (2, channels[1], 5, 6)


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("channels", [(1, 1), (2, 3), (4, 16), (16, 4), (16, 64), (30, 30), (512, 128)])
def test_the_stand_in_always_fits_and_keeps_what_fits(name: str, params: dict, channels: tuple[int, int]) -> None:
    defaults = {"spconv": {"alpha": 1 / 2, "groups": 2}, "compconv": {"depth": 2}}.get(name, {})
    asked = {**defaults, **params}
    stand_in = OPERATORS[name].stand_in(*channels, **asked)
    OPERATORS[name](*channels, **stand_in)
    try:
        OPERATORS[name](*channels, **asked)
    except ValueError:
        assert stand_in != asked
    else:
        assert stand_in == asked


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("followed", [True, False])
def test_folding_changes_nothing_but_the_batchnorms(name: str, params: dict, stride: int, followed: bool) -> None:
    operator = OPERATORS[name](16, 32, stride=stride, **params)
    network = randomised(nn.Sequential(operator, *([nn.BatchNorm2d(32)] if followed else []))).eval()
    images = torch.randn(3, 16, 9, 7)
    folded = fold(network)
    torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded[0].modules())


@pytest.mark.parametrize(("name", "params"), CASES)
def test_survives_deepcopy_and_a_saved_state(name: str, params: dict) -> None:
    operator = randomised(OPERATORS[name](16, 32, **params)).eval()
    images = torch.randn(1, 16, 6, 6)
    file = io.BytesIO()
    torch.save(operator.state_dict(), file)
    file.seek(0)
    fresh = OPERATORS[name](16, 32, **params).eval()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(images), operator(images))
    assert torch.equal(copy.deepcopy(operator)(images), operator(images))


@pytest.mark.parametrize(("name", "params"), CASES)
def test_memory_layout_does_not_matter(name: str, params: dict) -> None:
    operator = randomised(OPERATORS[name](16, 32, **params)).eval()
    images = torch.randn(2, 16, 6, 7)
    rows = operator(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(rows, operator(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("operator", [SPConv2d, CompConv2d, VanillaConv2d])
@pytest.mark.parametrize("wrong", [(0, 4), (4, 0), (4, 4, 0), (4, 4, 3, 0), (4, 4, 3, 1, -1)])
def test_impossible_sizes_are_refused(operator: type, wrong: tuple) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        operator(*wrong)
