"""``convert`` on our own and on other people's networks."""

import itertools
from collections.abc import Iterable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from nas.cost.flops import trace_flops
from search_spaces import VANILLA, Backbone, Choice, convert, find_slots, fold
from search_spaces.operators import OPERATORS

from .test_operators import randomised

SPCONV = Choice.of("spconv", alpha=1 / 4, groups=2)


CHOICES = [
    *(Choice.of(name) for name in OPERATORS if name != "vanilla"),
    Choice.of("vanilla", binary=True),
    Choice.of("spconv", heavy="gwc-pwc", fusion="sum"),
    Choice.of("compconv", depth=2, identity="conv", binary=True),
    Choice.of("octconv", alpha=1 / 4, alpha_in=0),
]
NETWORKS = ["resnet50", "vgg16_bn", "densenet121", "mobilenet_v3_large", "regnet_y_400mf", "wide_resnet50_2"]


def slow(*names: str) -> list:
    return [pytest.param(n, marks=pytest.mark.slow) if n in names else n for n in NETWORKS]


def nearest_choices(network: nn.Module) -> dict[str, Choice]:
    """One choice after the other for the slots, as near as their channels allow."""
    asked = zip(find_slots(network).items(), itertools.cycle(CHOICES), strict=False)
    return {n: choice.resolved(slot).stand_in(slot) for (n, slot), choice in asked}


def input_shapes(network: nn.Module, names: Iterable[str], images: Tensor) -> dict[str, torch.Size]:
    """What each module reads when ``network`` reads ``images``."""
    shapes: dict[str, torch.Size] = {}
    hooks = [
        network.get_submodule(n).register_forward_pre_hook(lambda _, inputs, n=n: shapes.update({n: inputs[0].shape}))
        for n in names
    ]
    network(images)
    for hook in hooks:
        hook.remove()
    return shapes


@pytest.mark.parametrize("name", slow("vgg16_bn", "wide_resnet50_2"))
def test_any_network_keeps_its_shape_and_trains(name: str) -> None:
    network = getattr(torchvision.models, name)(weights=None, num_classes=5)
    chosen = nearest_choices(network)
    convert(network, chosen)
    out = network(torch.randn(2, 3, 64, 64))
    out.square().sum().backward()
    assert out.shape == (2, 5)
    assert find_slots(network).keys() & chosen.keys() == set()
    for converted in map(network.get_submodule, chosen):
        gradients = [p.grad for p in converted.parameters()]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        assert any(g.any() for g in gradients)


@pytest.mark.parametrize("name", slow("vgg16_bn", "densenet121", "regnet_y_400mf", "wide_resnet50_2"))
def test_flops_drop_by_what_the_layers_save(name: str) -> None:
    """The whole network's change is the sum of the slots', each counted alone at the slot's input."""
    network = getattr(torchvision.models, name)(weights=None, num_classes=5)
    chosen = nearest_choices(network)
    shape = (1, 3, 64, 64)
    shapes = input_shapes(network.eval(), chosen, torch.zeros(shape))
    before = trace_flops(network, shape)
    convs = {n: network.get_submodule(n) for n in chosen}
    after = trace_flops(convert(network, chosen).eval(), shape)
    changes = [trace_flops(network.get_submodule(n), shapes[n]) - trace_flops(convs[n], shapes[n]) for n in chosen]
    assert after - before == sum(changes) < 0


@pytest.mark.parametrize("name", ["resnet50_cifar", "resnet20", "vgg16"])
def test_folding_a_converted_network_keeps_its_output(name: str) -> None:
    """To rounding, whatever stands behind each operator."""
    network = Backbone(name, 10, 32, 0.5).build()
    convert(network, nearest_choices(network))
    randomised(network.double()).eval()
    images = torch.randn(2, 3, 15, 17, dtype=torch.float64)
    torch.testing.assert_close(fold(network)(images), network(images), rtol=1e-7, atol=1e-7)


def test_vanilla_leaves_the_convolution_and_its_weights() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
    weight = network[0].weight
    assert convert(network, {"0": VANILLA})[0].weight is weight


def test_geometry_is_taken_over() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=2, dilation=2))
    images = torch.randn(1, 8, 11, 9)
    shape = network(images).shape
    assert convert(network, {"0": SPCONV})(images).shape == shape


@pytest.mark.parametrize(
    ("network", "name", "says"),
    [
        (nn.Sequential(nn.Conv2d(4, 4, 3)), "1", "unknown slot '1'"),
        (nn.Sequential(nn.ReLU()), "0", "it is no nn.Conv2d"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "0", "it has 2 groups"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, padding_mode="reflect")), "0", "it pads with 'reflect'"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, padding="same")), "0", "its padding is 'same'"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), "0", "slot '0': SPConv: groups must divide"),
    ],
)
def test_what_can_not_be_replaced_says_why(network: nn.Module, name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        convert(network, {name: SPCONV})


def test_a_refused_conversion_changes_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 7, 3))
    with pytest.raises(ValueError, match="slot '1'"):
        convert(network, {"0": SPCONV, "1": SPCONV})
    assert type(network[0]) is nn.Conv2d
