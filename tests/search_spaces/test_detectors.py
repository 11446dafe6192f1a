"""The detectors on a converted ResNet-50: detections in eval mode, losses that reach every layer in training."""

import itertools

import pytest
import torch
from torch import nn

from search_spaces import Backbone, Choice, convert, find_slots
from search_spaces.detectors import DETECTORS
from search_spaces.operators import OPERATORS, Operator

CHOICES = [Choice.of(name) for name in OPERATORS]
TARGETS = [
    {"boxes": torch.tensor([[10.0, 20.0, 90.0, 110.0], [30.0, 5.0, 60.0, 50.0]]), "labels": torch.tensor([3, 7])},
    {"boxes": torch.tensor([[5.0, 5.0, 100.0, 70.0]]), "labels": torch.tensor([1])},
]


def detector(name: str) -> nn.Module:
    """On a narrow ResNet-50 whose slots hold one operator after the other."""
    body = Backbone("resnet50", 1000, 224, 0.25).build()
    asked = zip(find_slots(body).items(), itertools.cycle(CHOICES), strict=False)
    convert(body, {n: choice.resolved(slot).stand_in(slot) for (n, slot), choice in asked})
    for block in body.modules():
        if hasattr(block, "bn3"):
            nn.init.ones_(block.bn3.weight)  # at 0, as it starts, no gradient passes
    built = DETECTORS[name](body)
    built.transform.min_size, built.transform.max_size = (128,), 160
    return built


@pytest.mark.parametrize("name", DETECTORS)
def test_a_converted_backbone_detects(name: str) -> None:
    images = [torch.rand(3, 128, 128), torch.rand(3, 96, 120)]
    built = detector(name).eval()
    (built.roi_heads if name == "faster_rcnn" else built).score_thresh = 0.0
    with torch.no_grad():
        detections = built(images)
    assert len(detections) == 2
    for found, image in zip(detections, images, strict=True):
        count = len(found["boxes"])
        assert found["boxes"].shape == (count, 4)
        assert count > 0
        assert found["scores"].shape == found["labels"].shape == (count,)
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"][:, 2] <= image.shape[2]).all()
        assert (found["boxes"][:, 3] <= image.shape[1]).all()


@pytest.mark.parametrize("name", DETECTORS)
def test_the_losses_reach_every_converted_layer(name: str) -> None:
    built = detector(name).train()
    losses = built([torch.rand(3, 128, 128), torch.rand(3, 96, 120)], TARGETS)
    total = sum(losses.values())
    assert total.isfinite()
    total.backward()
    converted = {n: m for n, m in built.backbone.body.named_modules() if isinstance(m, Operator)}
    assert len(converted) > 40
    for layer in converted.values():
        gradients = [p.grad for p in layer.parameters()]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        assert any(g.any() for g in gradients)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("body", ["resnet18", "resnet50"])
def test_the_pyramid_has_256_channels_at_every_level(name: str, body: str) -> None:
    built = DETECTORS[name](Backbone(body, 1000, 224, 0.125).build()).eval()
    levels = built.backbone(torch.zeros(1, 3, 128, 96))
    first = {"faster_rcnn": 4, "retinanet": 8}[name]
    sizes = [(-(-128 // (first << i)), -(-96 // (first << i))) for i in range(5)]
    assert [tuple(level.shape) for level in levels.values()] == [(1, 256, *size) for size in sizes]
