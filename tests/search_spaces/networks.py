"""What tests of folded networks share; needs but torch and hypothesis, so that it runs on a bare machine with a GPU."""

import copy
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from search_spaces import fold
from search_spaces.operators import Operator, SPConv2d

FORMATS = [torch.contiguous_format, torch.channels_last]


def randomised(module: nn.Module) -> nn.Module:
    """Statistics and scales unlike those of a fresh network, as after training; some scales are 0 or negative."""
    for m in module.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(m.running_mean)
            nn.init.uniform_(m.running_var, 0.5, 2)
            nn.init.normal_(m.weight)
            nn.init.normal_(m.bias)
            with torch.no_grad():
                m.weight[0] = 0
    return module


def deployed(operator: Operator, bn: bool = True, bias: bool = False) -> Operator:
    """Folded, with a BatchNorm behind it and a bias, if asked for."""
    if bias:
        operator.add_bias(torch.randn(operator.out_channels))
    network = randomised(nn.Sequential(operator, *[nn.BatchNorm2d(operator.out_channels)] * bn))
    return fold(network)[0].requires_grad_(False)


def assert_same(form: nn.Module, operator: nn.Module, x: Tensor, tolerance: float = 1e-5) -> None:
    """Against the operator in double precision, relative to the largest output."""
    exact = copy.deepcopy(operator).double()(x.double())
    out = form(x)
    assert out.shape == exact.shape
    error = float((out.double() - exact).abs().max() / exact.abs().max())
    assert error <= tolerance, type(form).__name__


@st.composite
def spconvs(draw: Any) -> tuple[SPConv2d, tuple[int, int]]:
    """An SPConv, folded, and a size of its input."""
    torch.manual_seed(draw(st.integers(0, 999)))
    groups, alpha = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1 / 4, 1 / 2, 1]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.sampled_from([1, 1, 2]))
    padding = draw(st.sampled_from([None, 0, 1, 2]))
    least = max(dilation * (k - 1) + 1 for k in kernel)
    heavy = draw(st.sampled_from(["gwc+pwc", "gwc+pwc", "gwc-pwc", "vanilla"]))
    fusion = draw(st.sampled_from(["attention", "attention", "sum"]))
    settings = {"alpha": alpha, "groups": groups, "heavy": heavy, "fusion": fusion, "redundant": draw(st.booleans())}
    operator = SPConv2d(16, draw(st.sampled_from([8, 20])), kernel, stride, padding, dilation=dilation, **settings)
    size = draw(st.tuples(st.integers(least, least + 7), st.integers(least, least + 7)))
    return deployed(operator, draw(st.booleans()), draw(st.booleans())), size
