"""Our ResNets against torchvision's, and against the published counts."""

import pytest
import torch
import torchvision

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
    network = Backbone(name, 7, resolution, width).build().eval()
    assert network(torch.zeros(2, 3, resolution, resolution)).shape == (2, 7)


@pytest.mark.parametrize("name", BACKBONES)
def test_folding_a_backbone_keeps_its_output(name: str) -> None:
    network = Backbone(name, 10, 32, 0.25).build()
    network(torch.randn(8, 3, 32, 32))
    network.eval()
    images = torch.randn(2, 3, 32, 32)
    folded = fold(network)
    torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())


def test_published_counts() -> None:
    """ResNet-50: 4.09 GFLOPs and 25.56M parameters (torchvision); ResNet-20: 0.27M (He et al., Table 6)."""
    assert count_params(BACKBONES["resnet50"]()) == 25_557_032
    assert count_flops(BACKBONES["resnet50"](), (1, 3, 224, 224)) == 4_089_284_608
    assert round(count_params(BACKBONES["resnet20"]()) / 1e6, 2) == 0.27


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'resnet50'"):
        Backbone("resnet5", 10, 32)
