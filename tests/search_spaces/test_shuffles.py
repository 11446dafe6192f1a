"""CompConv's shuffle, folded into the convolution that reads it: same output, and only where that is so."""

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from search_spaces import fold
from search_spaces.operators import CompConv2d, Operator, SPConv2d, VanillaConv2d
from search_spaces.operators.compconv import Identity
from search_spaces.operators.ghost import GhostConv2d
from search_spaces.shuffles import fold_shuffles

from .networks import randomised


def shuffled(model: nn.Module) -> int:
    return sum(m.shuffled for m in model.modules() if isinstance(m, CompConv2d))


@given(st.integers(5, 24), st.integers(1, 2), st.integers(1, 2), st.booleans(), st.integers(0, 99))
@settings(deadline=None, max_examples=50)
def test_same_output(channels: int, depth: int, stride: int, bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    operator = CompConv2d(6, channels, stride=stride, **CompConv2d.stand_in(6, channels, depth=depth))
    if bias:
        operator.add_bias(torch.randn(channels))
    model = nn.Sequential(operator, nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 7, 3))
    model = fold(randomised(model)).double()
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64)
    before, found = model(x), fold_shuffles(model)
    assert (shuffled(model), shuffled(found)) == (1, 0)
    assert torch.allclose(found(x), before, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "reader",
    [
        VanillaConv2d(22, 8),
        GhostConv2d(22, 8, stride=2),
        CompConv2d(22, 8, depth=0),
        CompConv2d(22, 8, depth=1),
        *(CompConv2d(22, 54, depth=3, identity=identity) for identity in get_args(Identity)),
        CompConv2d(22, 270, depth=3, identity="fixed"),  # borrows more channels than there are
    ],
    ids=repr,
)
def test_operators_that_read_it(reader: Operator) -> None:
    model = nn.Sequential(CompConv2d(6, 22, depth=1), nn.BatchNorm2d(22), nn.ReLU(inplace=True), reader)
    model = fold(randomised(model)).double()
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64)
    found = fold_shuffles(model)
    assert not found[0].shuffled
    assert torch.allclose(found(x), model(x), rtol=1e-10, atol=1e-10)


def test_not_into_other_operators() -> None:
    assert shuffled(fold_shuffles(fold(nn.Sequential(CompConv2d(8, 8, depth=1), SPConv2d(8, 8))))) == 1


class Block(nn.Module):
    """A bottleneck's end; ``reads``, what reads the shuffled channels beside the convolution."""

    def __init__(self, reads: str = "", groups: int = 1) -> None:
        super().__init__()
        self.reads, self.conv = reads, CompConv2d(8, 8, depth=1)
        self.bn, self.last = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn(self.conv(x)))
        if self.reads == "twice":
            y = F.relu(self.bn(y))
        if self.reads == "mean":
            y = y * y.mean(1, keepdim=True)
        if self.reads == "softmax":
            y = y.softmax(1)
        z = self.last(y)
        return z + y if self.reads == "sum" else z


@pytest.mark.parametrize("reads", ["", "twice", "mean", "softmax", "sum"])
def test_only_where_one_convolution_reads_it(reads: str) -> None:
    model, x = fold(randomised(Block(reads))), torch.randn(2, 8, 5, 5)
    found = fold_shuffles(model)
    assert shuffled(found) == (reads != "")
    assert torch.allclose(found(x), model(x), atol=1e-5)


def test_not_into_groups() -> None:
    assert shuffled(fold_shuffles(fold(Block(groups=2)))) == 1


def test_a_shared_convolution_stays() -> None:
    last = nn.Conv2d(8, 8, 1)
    assert shuffled(fold_shuffles(fold(nn.Sequential(CompConv2d(8, 8, depth=1), last, last)))) == 1
