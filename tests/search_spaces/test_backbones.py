"""Our ResNets and VGGs against torchvision's, and against the published counts."""

import pytest
import torch
import torchvision
from torch import nn

from nas.cost.flops import count_flops, count_params
from search_spaces import Backbone, fold
from search_spaces.backbones import BACKBONES


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_weights_fit_and_give_the_same_output(name: str) -> None:
    theirs = getattr(torchvision.models, name)(weights=None).eval()
    ours = BACKBONES[name]().eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 65, 65)
    torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("resolution", [24, 32, 96])
@pytest.mark.parametrize("width", [0.25, 1.0])
def test_every_backbone_takes_every_size(name: str, resolution: int, width: float) -> None:
    with torch.device("meta"):
        network = Backbone(name, 7, resolution, width).build().eval()
        assert network(torch.empty(2, 3, resolution, resolution)).shape == (2, 7)


@pytest.mark.parametrize("name", BACKBONES)
def test_folding_a_backbone_keeps_its_output(name: str) -> None:
    network = Backbone(name, 10, 32, 0.25).build()
    network(torch.randn(8, 3, 32, 32))
    network.eval()
    images = torch.randn(2, 3, 32, 32)
    folded = fold(network)
    torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())


def test_published_counts() -> None:
    """ResNet-50: 4.09 GFLOPs and 25.56M parameters (torchvision); ResNet-20: 0.27M (He et al., Table 6)."""
    assert count_params(BACKBONES["resnet50"]()) == 25_557_032
    assert count_flops(BACKBONES["resnet50"](), (1, 3, 224, 224)) == 4_089_284_608
    assert round(count_params(BACKBONES["resnet20"]()) / 1e6, 2) == 0.27


@pytest.mark.parametrize(
    ("name", "classes", "millions"),
    [("vgg16", 10, 14.7), ("resnet18_cifar", 100, 11.2), ("resnet50_cifar", 100, 23.7)],
)
def test_published_sizes(name: str, classes: int, millions: float) -> None:
    """In millions, as they are printed for CIFAR-10 and CIFAR-100."""
    with torch.device("meta"):
        assert round(count_params(BACKBONES[name](classes)) / 1e6, 1) == millions


def test_vgg16_is_torchvisions_but_for_its_biases_and_classifier() -> None:
    """torchvision has 13 convolutions with a bias, which do nothing before a BatchNorm."""
    with torch.device("meta"):
        theirs = torchvision.models.vgg16_bn().features
        ours = BACKBONES["vgg16"](10)
        convs = [[m.weight.shape for m in net.modules() if isinstance(m, nn.Conv2d)] for net in (theirs, ours)]
        assert convs[0] == convs[1]
        assert len(convs[0]) == 13
        images = torch.empty(1, 3, 64, 64)
        features = nn.Sequential(*(getattr(ours, f"stage{i}") for i in range(1, 6)))
        assert features(images).shape == theirs(images).shape


@pytest.mark.parametrize(("name", "linear"), [("vgg16", [(512, 10)]), ("vgg16_two_fc", [(512, 512), (512, 10)])])
def test_the_vggs_differ_in_their_fully_connected_layers(name: str, linear: list[tuple[int, int]]) -> None:
    layers = [m for m in BACKBONES[name](10).modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == linear


@pytest.mark.parametrize("name", ["resnet18_cifar", "resnet50_cifar"])
def test_the_cifar_resnets_keep_the_resolution_up_to_the_second_stage(name: str) -> None:
    """Otherwise they are the ResNets of ImageNet: but for the stem they take each other's weights."""
    with torch.device("meta"):
        network = BACKBONES[name](10)
        stem = network.maxpool(network.conv1(torch.empty(1, 3, 32, 32)))
        assert stem.shape == (1, 64, 32, 32)
        assert network.layer4(network.layer3(network.layer2(network.layer1(stem)))).shape[2:] == (4, 4)
        imagenet = BACKBONES[name.removesuffix("_cifar")](10)
    shapes = [{n: p.shape for n, p in net.state_dict().items() if n != "conv1.weight"} for net in (network, imagenet)]
    assert shapes[0] == shapes[1]


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'resnet50'"):
        Backbone("resnet5", 10, 32)
