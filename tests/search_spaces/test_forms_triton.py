"""SPConv's Triton kernels: in Triton's interpreter on any machine, and compiled where there is a GPU."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.operators import SPConv2d

from .networks import assert_same, deployed, spconvs

pytest.importorskip("triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ON_GPU = torch.cuda.is_available() and not INTERPRETED
interpreted = pytest.mark.skipif(not INTERPRETED, reason="only in Triton's interpreter")
LAYERS = [(64, 56, 1), (128, 28, 1), (256, 14, 1), (512, 7, 1), (128, 56, 2), (256, 28, 2), (512, 14, 2)]

if INTERPRETED or ON_GPU:
    from search_spaces.operators.spconv_triton import BEFORE, WITHIN, EpilogueSPConv, FusedSPConv, Tiles

    SMALL = [Tiles(16, 16, 16, 16), Tiles(64, 32, 16, 32), Tiles(128, 64, 32, 16, within=True), None]


def test_in_the_interpreter() -> None:
    """In a process of its own: Triton must know of it before it is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-k", "interpreted", __file__]
    done = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@interpreted
@given(spconvs(), st.integers(1, 3), st.integers(0, 3), st.booleans())
@settings(deadline=None, max_examples=25)
def test_interpreted(spconv: tuple[SPConv2d, tuple[int, int]], batch: int, tiles: int, relu: bool) -> None:
    operator, size = spconv
    x = torch.randn(batch, 16, *size)
    for form in operator.forms(size, on_gpu=True).values():
        assert_same(form, operator, x)
    if "fused" in operator.forms(size, on_gpu=True):
        form = FusedSPConv(operator, size, SMALL[tiles], relu)
        exact = operator(x)
        assert (form(x) - (exact.relu() if relu else exact)).abs().max() <= 1e-5 * exact.abs().max()


@interpreted
@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_interpreted_gate(within: bool, stride: int) -> None:
    operator = deployed(SPConv2d(24, 40, stride=stride))
    form = FusedSPConv(operator, (8, 8), Tiles(64, 16, 16, 16, within=within))
    assert form.fusion == (WITHIN if within else BEFORE)
    assert_same(form, operator, torch.randn(3, 24, 8, 8))
    assert_same(EpilogueSPConv(operator, (8, 8)), operator, torch.randn(3, 24, 8, 8))


@interpreted
def test_interpreted_tiles_hold_the_map_or_say_so() -> None:
    with pytest.raises(ValueError, match="does not hold an output map of 81"):
        FusedSPConv(deployed(SPConv2d(16, 16)), (9, 9), Tiles(64, 16, 16, 16, within=True))


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("layer", "alpha", "dtype", "tolerance"),
    [
        *((layer, 1 / 2, torch.float16, 4e-3) for layer in LAYERS),
        *((layer, 1 / 8, torch.float32, 3e-5) for layer in LAYERS[:2]),
        (LAYERS[5], 1 / 4, torch.bfloat16, 3e-2),
    ],
)
def test_on_gpu(layer: tuple[int, int, int], alpha: float, dtype: torch.dtype, tolerance: float) -> None:
    """Against the same layer with the same rounded weights in double precision."""
    torch.backends.cudnn.allow_tf32 = False
    channels, size, stride = layer
    operator = deployed(SPConv2d(channels, channels, stride=stride, alpha=alpha)).to("cuda", dtype)
    x = torch.randn(5, channels, size, size, device="cuda", dtype=dtype).to(memory_format=torch.channels_last)
    forms = operator.forms((size, size), on_gpu=True)
    assert {"grouped", "dense", "fused", "epilogue"} <= set(forms)
    for form in forms.values():
        assert_same(form, operator, x, tolerance)
    with_relu = FusedSPConv(operator, (size, size), relu=True)
    assert torch.equal(with_relu(x), forms["fused"](x).relu())


@pytest.mark.gpu
@given(spconvs(), st.integers(1, 3))
@settings(deadline=None, max_examples=10)
def test_any_geometry_on_gpu(spconv: tuple[SPConv2d, tuple[int, int]], batch: int) -> None:
    operator, size = spconv
    operator = operator.cuda().half()
    for form in operator.forms(size, on_gpu=True).values():
        assert_same(form, operator, torch.randn(batch, 16, *size, device="cuda").half(), 1e-2)
