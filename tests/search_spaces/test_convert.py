"""``convert`` on our own and on other people's networks."""

import pytest
import torch
import torchvision
from torch import nn

from search_spaces import VANILLA, Choice, convert, find_slots

SPCONV = Choice.of("spconv", alpha=1 / 4, groups=2)
COMPCONV = Choice.of("compconv", depth=2)


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "densenet121", "mobilenet_v3_small", "regnet_y_400mf"])
def test_any_network_keeps_its_shape_and_trains(name: str) -> None:
    network = getattr(torchvision.models, name)(weights=None, num_classes=5)
    slots = find_slots(network)
    chosen = {n: SPCONV if s.kernel_size == (3, 3) and s.in_channels >= 8 else COMPCONV for n, s in slots.items()}
    chosen = {n: c.stand_in(slots[n]) for n, c in chosen.items()}
    before = sum(p.numel() for p in network.parameters())
    convert(network, chosen)
    assert sum(p.numel() for p in network.parameters()) < before
    out = network(torch.randn(2, 3, 64, 64))
    out.square().sum().backward()
    assert out.shape == (2, 5)
    assert all(p.grad is not None for n, p in network.named_parameters() if n.startswith(tuple(chosen)))


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
