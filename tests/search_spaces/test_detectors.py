"""The detectors on a converted ResNet-50: detections in eval mode, losses that reach every layer in training."""

import itertools

import pytest
import torch
from torch import nn

from nas.cost.flops import count_flops, count_params
from nas.cost.table import measure
from nas.form import parse_form
from nas.metrics import METRICS
from search_spaces import Architecture, Backbone, Choice, convert, find_slots, fold, proxy_of
from search_spaces.checks import BadInput
from search_spaces.detectors import DETECTORS, Inference
from search_spaces.operators import OPERATORS, Operator
from search_spaces.space import parse_space

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


SPACE = {
    "backbone": {"name": "resnet18", "classes": 3, "resolution": 64, "width": 0.25},
    "exclude": ["conv1"],
    "choices": [
        {"operator": "vanilla"},
        {"operator": "spconv", "alpha": ["1/2"], "groups": [1, 2], "kernel_size": 3},
        {"operator": "compconv", "depth": [1]},
    ],
}


def flat(found: object) -> list[torch.Tensor]:
    if isinstance(found, torch.Tensor):
        return [found]
    return [t for inner in (found.values() if isinstance(found, dict) else found) for t in flat(inner)]


@pytest.mark.parametrize("body", ["resnet18", pytest.param("torchvision:resnet18", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", DETECTORS)
def test_the_sums_of_the_table_are_the_count_of_the_whole_detector(name: str, body: str) -> None:
    width = 0.25 if body == "resnet18" else 1.0
    space = parse_space("small", SPACE, "a test", Backbone(body, 3, 64, width, name))
    table = measure(space, parse_form("cpu"), lambda text: None, {n: METRICS[n] for n in ("flops", "params")})
    for choice in (Choice.of("vanilla"), Choice.of("spconv", alpha="1/2", groups=2), Choice.of("compconv", depth=1)):
        architecture = space.uniform(choice)
        network = architecture.inference()
        assert count_params(network) == sum(p.numel() for p in architecture.build().parameters())
        assert table.total(architecture) == {
            "flops": count_flops(network, (1, 3, 64, 107)),
            "params": count_params(network),
        }
    assert Architecture.from_dict(architecture.to_dict()) == architecture
    proxy, _ = proxy_of(architecture, width=1.0, resolution=32, classes=5)
    assert proxy.build().eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 5)


@pytest.mark.parametrize("name", DETECTORS)
def test_what_is_counted_is_folded_to_the_same(name: str) -> None:
    network = Inference(detector(name)).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        wanted, found = flat(network(images)), flat(fold(network)(images))
    assert len(wanted) == len(found) > 1
    for a, b in zip(wanted, found, strict=True):
        assert torch.allclose(a, b, atol=1e-5 * max(1.0, float(a.abs().max())))


def test_what_no_detector_can_be_built_on_is_one_line() -> None:
    space = {**SPACE, "backbone": {"name": "resnet20", "classes": 3, "resolution": 64, "detector": "retinanet"}}
    with pytest.raises(BadInput, match="needs a ResNet with the stages layer1 to layer4"):
        parse_space("small", space, "a test")
    with pytest.raises(BadInput, match="unknown detector 'yolo'"):
        parse_space("small", {**SPACE, "backbone": {**SPACE["backbone"], "detector": "yolo"}}, "a test")
    with pytest.raises(BadInput, match="detector must be a detector's name, got 3"):
        parse_space("small", {**SPACE, "backbone": {**SPACE["backbone"], "detector": 3}}, "a test")
