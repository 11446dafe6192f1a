"""What makes ONNX graphs quick: convolutions split where their outputs are taken apart, means as poolings."""

import warnings
from collections import Counter
from io import BytesIO

import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.cost.onnx_passes import pool_means, split_producers
from search_spaces import Choice, fold, load_space


def exported(network: nn.Module, images: Tensor, dynamo: bool) -> onnx.ModelProto:
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(network, (images,), dynamo=True, verbose=False)
            return program.model_proto
        torch.onnx.export(network, (images,), file, dynamo=False)
    return onnx.load_from_string(file.getvalue())


def run(model: onnx.ModelProto, images: Tensor) -> Tensor:
    opened = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(opened.run(None, {opened.get_inputs()[0].name: images.numpy()})[0])


class TakenApart(nn.Module):
    """A convolution whose outputs go to others in parts; ``also`` reads all of it."""

    def __init__(self, parts: list[int], relu: bool, bias: bool, also: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, sum(parts), 3, padding=1, stride=2, bias=bias)
        self.others = nn.ModuleList(nn.Conv2d(n, 4, 1) for n in parts)
        self.parts, self.relu, self.also = parts, relu, also

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x.relu() if self.relu else x
        out = sum(conv(part) for conv, part in zip(self.others, x.split(self.parts, 1), strict=True))
        return torch.cat([out, x], 1) if self.also else out


@given(st.lists(st.integers(1, 6), min_size=2, max_size=3), st.booleans(), st.booleans(), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=25)
def test_the_same_function_without_slices(parts: list[int], relu: bool, bias: bool, also: bool, dynamo: bool) -> None:
    network, images = TakenApart(parts, relu, bias, also).eval(), torch.randn(2, 3, 8, 8)
    model = exported(network, images, dynamo and len(parts) == 2)
    before = Counter(node.op_type for node in model.graph.node)
    count = split_producers(model)
    after = Counter(node.op_type for node in model.graph.node)
    onnx.checker.check_model(model, full_check=True)
    assert count == (0 if also else 1)
    assert after["Conv"] == before["Conv"] + (0 if also else len(parts) - 1)
    if not also:
        assert after["Slice"] + after["Split"] == 0
    with torch.inference_mode():
        expected = network(images)
    assert (run(model, images) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("dynamo", [False, True])
def test_a_whole_network_with_spconv(dynamo: bool) -> None:
    """Of ResNet-50's bottlenecks: the pointwise convolution before each SPConv gives its two parts."""
    space = load_space("spconv_layerwise")
    network = fold(space.uniform(Choice.of("spconv", alpha=1 / 2, groups=2)).build()).layer1
    images = torch.randn(1, 64, 14, 14)
    model = exported(network, images, dynamo)
    assert split_producers(model) == 3
    assert not {"Slice", "Split"} & {node.op_type for node in model.graph.node}
    with torch.inference_mode():
        expected = network(images)
    assert (run(model, images) - expected).abs().max() <= 1e-5 * expected.abs().max()


class Means(nn.Module):
    """Over the axes given, kept or not."""

    def __init__(self, axes: tuple[int, ...], keep: bool) -> None:
        super().__init__()
        self.conv, self.axes, self.keep = nn.Conv2d(3, 8, 3), axes, keep

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean(self.axes, keepdim=self.keep)


@pytest.mark.parametrize(
    ("axes", "keep", "pooled"), [((2, 3), True, 1), ((-1, -2), True, 1), ((2, 3), False, 0), ((1, 2), True, 0)]
)
def test_means_over_maps_are_poolings(axes: tuple[int, ...], keep: bool, pooled: int) -> None:
    network, images = Means(axes, keep).eval(), torch.randn(2, 3, 9, 7)
    model = exported(network, images, True)
    assert pool_means(model) == pooled
    with torch.inference_mode():
        expected = network(images)
    assert (run(model, images) - expected).abs().max() <= 1e-5 * expected.abs().max()
