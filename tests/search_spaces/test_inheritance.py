"""Inherited weights: what can be exact is, what can't is near; and nothing but the candidate changes."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Backbone, Choice, convert, find_slots, inherit
from search_spaces.operators import Operator
from search_spaces.operators.binary import BinaryConv2d
from search_spaces.operators.inheriting import Path, blocks, fit, outside_blocks, undo
from tests.search_spaces.test_operators import CASES, IN_FLOATS, made

EXACT: list[tuple[str, dict[str, Any]]] = [
    ("vanilla", {}),
    ("spconv", {"alpha": 1, "groups": 1}),
    ("spconv", {"alpha": 1, "heavy": "vanilla"}),
    ("compconv", {"depth": 0}),
    ("ghost", {"ratio": 1}),
    ("hetconv", {"p": 1}),
    ("octconv", {"alpha": 0}),
    ("grouped", {"groups": 1}),
]
SPCONV = Choice.of("spconv", alpha=1 / 4, groups=1)


def features(seed: int, channels: int = 16, size: int = 12, images: int = 32) -> Tensor:
    """Smooth in space, correlated between channels, not negative: as what a layer reads; ``(images, channels, …)``."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randn(images, channels // 2, size, size, generator=generator)
    smooth = 3 * F.avg_pool2d(F.pad(sources, (1, 1, 1, 1), mode="reflect"), 3, 1)
    mixing = torch.randn(channels, channels // 2, generator=torch.Generator().manual_seed(99))
    noise = torch.randn(images, channels, size, size, generator=generator)
    return F.relu(torch.einsum("oc,bchw->bohw", mixing / mixing.shape[1] ** 0.5, smooth) + 0.3 * noise)


def dense_conv(**geometry: Any) -> nn.Conv2d:
    conv = nn.Conv2d(16, 32, **{"kernel_size": 3, "padding": 1, **geometry}, bias=False).requires_grad_(False)
    nn.init.kaiming_normal_(conv.weight)
    return conv


def inherited(name: str, params: dict, conv: nn.Conv2d, inputs: Tensor) -> Operator:
    geometry = {"kernel_size": conv.kernel_size, "stride": conv.stride, "padding": conv.padding}
    operator = made(name, params, **geometry).eval()
    assert isinstance(operator, Operator)
    operator.inherit(conv.weight, inputs, conv(inputs))
    return operator.requires_grad_(False)


def centred(x: Tensor) -> Tensor:
    return x - x.mean((0, 2, 3), keepdim=True)


def error(operator: nn.Module, conv: nn.Conv2d, inputs: Tensor) -> float:
    """Relative to what predicting each channel's mean gives; constants are free, as the BatchNorm behind takes them."""
    expected = conv(inputs)
    return (centred(operator(inputs) - expected).norm() / centred(expected).norm()).item()


@pytest.mark.parametrize(("name", "params"), IN_FLOATS)
@pytest.mark.parametrize("geometry", [{}, {"stride": 2}], ids=str)
def test_every_operator_comes_near_the_dense_layer_on_other_images(name: str, params: dict, geometry: dict) -> None:
    conv = dense_conv(**geometry)
    assert error(inherited(name, params, conv, features(0)), conv, features(1)) < 0.96


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("stride", [1, 2])
def test_the_least_squares_are_better_than_a_fresh_operator(name: str, params: dict, stride: int) -> None:
    """The binary ones too, whose scale a BatchNorm sets right: by the correlation with the dense layer."""
    conv, images = dense_conv(stride=stride), features(1)
    found = []
    for operator in (inherited(name, params, conv, features(0)), made(name, params, stride=stride).eval()):
        ours, theirs = centred(operator(images)), centred(conv(images))
        found.append(F.cosine_similarity(ours.flatten(), theirs.flatten(), 0).item())
    assert found[0] > max(0.15, found[1] + 0.15)


@pytest.mark.parametrize(("name", "params"), EXACT)
@pytest.mark.parametrize("stride", [1, 2])
def test_what_can_hold_the_dense_kernel_is_exact(name: str, params: dict, stride: int) -> None:
    if name == "octconv" and stride == 2:
        return  # its stride is an average pooling
    conv = dense_conv(stride=stride)
    operator, images = inherited(name, params, conv, features(0)), features(1)
    assert (operator(images) - conv(images)).norm() <= 1e-4 * conv(images).norm()


def test_few_images_dead_channels_and_a_bias_are_no_trouble() -> None:
    conv = nn.Conv2d(16, 32, 3, padding=1).requires_grad_(False)
    inputs = features(0, images=2, size=2)
    inputs[:, ::2] = 0
    for name, params in CASES:
        operator = made(name, params).eval()
        operator.inherit(conv.weight, inputs, conv(inputs))
        assert operator(inputs).isfinite().all()


def test_a_fit_keeps_weights_that_are_exact_and_finds_those_that_are_not() -> None:
    grouped, pointwise = nn.Conv2d(16, 32, 3, padding=1, groups=2, bias=False), nn.Conv2d(16, 32, 1, bias=False)
    images = torch.randn(8, 16, 12, 12)
    with torch.no_grad():
        wanted = grouped(images) + pointwise(images)
        before = grouped.weight.clone()
        fit(wanted, Path(grouped, images), Path(pointwise, images))
        assert torch.allclose(grouped.weight, before, atol=1e-5)
        nn.init.zeros_(pointwise.weight)
        fit(wanted, Path(grouped, images), Path(pointwise, images), ridge=1e-5)
        assert (grouped(images) + pointwise(images) - wanted).norm() <= 1e-2 * wanted.norm()


def test_blocks_and_what_is_outside_are_the_kernel() -> None:
    weight, images = torch.randn(6, 4, 3, 3), torch.randn(1, 4, 5, 5)
    parts = F.conv2d(images, blocks(weight, 2), groups=2) + F.conv2d(images, outside_blocks(weight, 2))
    torch.testing.assert_close(parts, F.conv2d(images, weight), rtol=1e-4, atol=1e-4)


def test_a_batchnorm_undoes_itself() -> None:
    x, bn = 3 * torch.randn(8, 5, 4, 4) + 2, nn.BatchNorm2d(5).eval().requires_grad_(False)
    undo(bn, x)
    torch.testing.assert_close(bn(x), x, rtol=1e-4, atol=1e-4)
    undo(bn, x, mean=torch.ones(5), gain=2.0)
    torch.testing.assert_close(bn(x), 2 * centred(x) + 1, rtol=1e-4, atol=1e-4)


def smooth_images(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.randn(64, 3, 4, 4, generator=generator), size=(16, 16), mode="bicubic")


def trained(backbone: Backbone) -> nn.Module:
    """Not trained, but with scales and statistics as if it were: each BatchNorm normalises what it reads."""
    network = backbone.build()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.randn(64, 3, backbone.resolution, backbone.resolution))
    return network.eval()


def candidate(backbone: Backbone, choice: Choice) -> nn.Module:
    network = backbone.build()
    slots = {name: slot for name, slot in find_slots(network).items() if slot.kernel_size == (3, 3) and name != "conv1"}
    return convert(network, {name: choice.resolved(slot).stand_in(slot) for name, slot in slots.items()})


TWO_LAYERS = ("layer2.0.conv2", "layer3.0.conv1")
RESNET20 = Backbone("resnet20", 10, 16)
RESNET50 = Backbone("resnet50", 10, 24, 0.125)


@pytest.mark.parametrize("backbone", [RESNET20, RESNET50, Backbone("vgg16", 10, 32, 0.125)], ids=lambda b: b.name)
@torch.no_grad()
def test_a_network_of_exact_stand_ins_is_the_dense_network(backbone: Backbone) -> None:
    dense = trained(backbone)
    images, others = torch.randn(2, 24, 3, backbone.resolution, backbone.resolution)
    model = candidate(backbone, Choice.of("spconv", alpha=1, groups=1)).eval()
    inherit(model, dense, images)
    assert (model(others) - dense(others)).abs().max() <= 1e-3 * dense(others).abs().max()


@pytest.mark.parametrize("choice", [SPCONV, Choice.of("grouped"), Choice.of("hetconv")], ids=str)
@torch.no_grad()
def test_a_candidate_answers_as_the_dense_network_does(choice: Choice) -> None:
    """Far better than one that has all from the dense network but the operators' weights; two layers are replaced."""
    dense = trained(RESNET20)
    images, others = smooth_images(0), smooth_images(1)
    expected = dense(others) - dense(others).mean(0)
    inheriting, fresh = (convert(RESNET20.build(), dict.fromkeys(TWO_LAYERS, choice)).eval() for _ in range(2))
    rest = {name: tensor for name, tensor in dense.state_dict().items() if name in fresh.state_dict()}
    fresh.load_state_dict(rest, strict=False)
    inherit(inheriting, dense, images)
    alike = [F.cosine_similarity(x - x.mean(0), expected).mean() for x in (inheriting(others), fresh(others))]
    assert alike[0] > max(0.6, alike[1] + 0.2)


@pytest.mark.parametrize("choice", [SPCONV, Choice.of("spconv", alpha=1 / 4, groups=1, binary=True)], ids=str)
def test_only_the_candidate_changes_and_always_alike(choice: Choice) -> None:
    dense, images = trained(RESNET20), torch.randn(8, 3, 16, 16)
    dense.layer1.train()
    before, modes = copy.deepcopy(dense.state_dict()), [m.training for m in dense.modules()]
    first = candidate(RESNET20, choice)
    first.layer2.eval()
    second = copy.deepcopy(first)
    theirs, random = [m.training for m in first.modules()], torch.get_rng_state()
    inherit(first, dense, images)
    inherit(second, dense, images)
    assert all(torch.equal(before[name], tensor) for name, tensor in dense.state_dict().items())
    assert [m.training for m in dense.modules()] == modes
    assert [m.training for m in first.modules()] == theirs
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(m._forward_hooks or m._forward_pre_hooks for net in (dense, first) for m in net.modules())
    assert any(isinstance(m, BinaryConv2d) for m in first.modules()) == choice.binary
    first.train()(images).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in first.parameters())


def test_a_vanilla_layer_is_copied() -> None:
    dense = trained(RESNET20)
    model = convert(RESNET20.build(), {"layer1.0.conv1": SPCONV, "layer1.0.conv2": Choice.of("vanilla")})
    inherit(model, dense, torch.randn(8, 3, 16, 16))
    assert torch.equal(model.layer1[0].conv2.weight, dense.layer1[0].conv2.weight)
    assert model.layer1[0].conv2.weight is not dense.layer1[0].conv2.weight


@pytest.mark.parametrize(
    ("backbone", "named"),
    [
        (Backbone("resnet20", 7, 16), "fc.weight"),
        (Backbone("resnet20", 10, 16, 0.5), "layer1.0.conv1.weight"),
        (RESNET50, "layer1.0.conv1.weight"),
    ],
    ids=str,
)
def test_another_backbone_is_refused_in_one_line_and_nothing_is_copied(backbone: Backbone, named: str) -> None:
    model = candidate(RESNET20, SPCONV)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=f"inherit: {named} must ") as raised:
        inherit(model, backbone.build(), torch.randn(2, 3, 16, 16))
    assert "\n" not in str(raised.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_dense_network_without_that_convolution_is_refused() -> None:
    model, dense = candidate(RESNET20, SPCONV), candidate(RESNET20, Choice.of("grouped"))
    with pytest.raises(ValueError, match=r"layer1.0.conv1.weight must be a convolution's .*GroupedConv2d"):
        inherit(model, dense, torch.randn(2, 3, 16, 16))
