"""Inference forms: each has the function of the folded operator, whatever its size, geometry and layout."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from search_spaces import fold
from search_spaces.operators import SPConv2d

from .networks import FORMATS, assert_same, deployed, spconvs
from .test_operators import CASES, GEOMETRIES, made


def sees_pixels(operator: SPConv2d) -> bool:
    """Whether no window lies in the padding alone, where oneDNN may crash."""
    spans = (d * (k - 1) + 1 for k, d in zip(operator.kernel_size, operator.dilation, strict=True))
    return all(p < span for p, span in zip(operator.padding, spans, strict=True))


@given(spconvs(), st.integers(1, 3), st.sampled_from(FORMATS))
@settings(deadline=None, max_examples=300)
def test_spconv_forms(spconv: tuple[SPConv2d, tuple[int, int]], batch: int, layout: torch.memory_format) -> None:
    operator, size = spconv
    x = torch.randn(batch, 16, *size).to(memory_format=layout)
    before = x.clone()
    forms = operator.forms(size, on_gpu=False)
    assert ("grouped" in forms) == sees_pixels(operator)
    for form in forms.values():
        assert_same(form, operator, x)
        assert torch.equal(x, before)


@pytest.mark.parametrize("stride", [1, 2])
def test_usual_spconv_has_a_dense_form(stride: int) -> None:
    operator = deployed(SPConv2d(16, 16, stride=stride))
    assert set(operator.forms((8, 8), on_gpu=False)) == {"grouped", "dense"}
    assert ("dense" in operator.forms((7, 7), on_gpu=False)) == (stride == 1)  # a ragged cell is no tap


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_forms_of_every_operator(name: str, params: dict, geometry: dict) -> None:
    operator = deployed(made(name, params, **geometry), bias=True)
    for form in operator.forms((9, 8), on_gpu=False).values():
        assert not form.training
        for layout in FORMATS:
            assert_same(form, operator, torch.randn(2, 16, 9, 8).to(memory_format=layout))
    for form in operator.graph_forms((9, 8)).values():
        assert_same(form, operator, torch.randn(2, 16, 9, 8))


@pytest.mark.parametrize(("name", "has"), [("compconv", True), ("depthwise_separable", True), ("vanilla", False)])
def test_what_is_but_a_factor_is_no_convolution(name: str, has: bool) -> None:
    operator = deployed(made(name, {"depth": 1} if name == "compconv" else {}, kernel_size=1))
    assert list(operator.forms((9, 8), on_gpu=False)) == ["scaled"] * has


def test_only_what_is_folded_has_forms() -> None:
    with pytest.raises(ValueError, match="fold it first"):
        SPConv2d(16, 16).forms((8, 8), on_gpu=False)


@given(spconvs(), st.integers(1, 3))
@settings(deadline=None, max_examples=100)
def test_graph_forms_compute_the_same(spconv: tuple[SPConv2d, tuple[int, int]], batch: int) -> None:
    operator, size = spconv
    forms = operator.graph_forms(size)
    assert ("plain" in forms) == (operator.heavy == "gwc+pwc" and sees_pixels(operator))
    for form in forms.values():
        assert_same(form, operator, torch.randn(batch, operator.in_channels, *size))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e-3])
def test_what_was_folded_in_single_precision_is_right_in_half(dtype: torch.dtype, stride: int, scale: float) -> None:
    """Channels that a BatchNorm scales to nothing, as after zero initialisation, once gave nan there."""
    bn = nn.BatchNorm2d(32)
    nn.init.constant_(bn.weight, scale)
    nn.init.normal_(bn.bias)
    operator = fold(nn.Sequential(SPConv2d(32, 32, stride=stride), bn))[0].requires_grad_(False)
    x = torch.randn(2, 32, 8, 8)
    expected = operator(x)
    for form in (operator, *operator.forms((8, 8), on_gpu=False).values(), *operator.graph_forms((8, 8)).values()):
        found = copy.deepcopy(form).to(dtype)(x.to(dtype)).float()
        assert (found - expected).abs().max() <= 0.02 * expected.abs().max(), type(form).__name__
