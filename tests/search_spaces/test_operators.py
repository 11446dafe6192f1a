"""The contract of every operator: a drop-in for ``nn.Conv2d`` that trains, saves, folds, exports, and is counted."""

import copy
import io
import re
from collections.abc import Iterator
from math import prod
from typing import Any, Literal, get_args, get_origin

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.cost.flops import count_flops
from search_spaces import Choice, Slot, fold
from search_spaces.operators import OPERATORS, VanillaConv2d
from search_spaces.operators.binary import BinaryConv2d

from .networks import randomised

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "vanilla": [{}, {"binary": True}],
    "spconv": [
        {},
        {"alpha": 1 / 4, "groups": 4},
        {"alpha": 1 / 16, "groups": 1},
        {"alpha": 1, "groups": 2},
        {"heavy": "vanilla"},
        {"heavy": "gwc-pwc", "groups": 4},
        {"heavy": "gwc+pwc", "redundant": False},
        {"fusion": "sum"},
        {"fusion": "attention", "binary": True},
    ],
    "compconv": [
        {},
        *({"depth": d} for d in range(4)),
        {"depth": 3, "identity": "group"},
        {"depth": 3, "identity": "random"},
        {"depth": 2, "even": True},
        {"depth": 2, "identity": "conv"},
        {"depth": 2, "identity": "fixed", "shuffle": False},
        {"depth": 2, "identity": "conv", "binary": True},
    ],
    "ghost": [{}, {"ratio": 1}, {"ratio": 3, "cheap_kernel": 5}, {"binary": True}],
    "hetconv": [{}, {"p": 1}, {"p": 16}, {"binary": True}],
    "octconv": [
        {},
        {"alpha": 1 / 8},
        {"alpha": 1 / 4, "alpha_in": 0},
        {"alpha": 1 / 4, "alpha_out": 0},
        {"alpha": 0},
        {"alpha": 1},
        {"binary": True},
    ],
    "grouped": [{}, {"groups": 16}, {"groups": 1}, {"binary": True}],
    "grouped_shuffle": [{}, {"groups": 8}, {"groups": 4, "binary": True}],
    "depthwise_separable": [{}, {"binary": True}],
    "pointwise": [{}, {"binary": True}],
    "selective_kernel": [{"groups": 4, "reduction": 2}, {"groups": 16}, {"groups": 4, "binary": True}],
}
CASES = [(name, params) for name, settings in SETTINGS.items() for params in settings]
FIRST = [(name, settings[0]) for name, settings in SETTINGS.items()]
OTHERS = [(name, params) for name, settings in SETTINGS.items() for params in settings[1:]]
IN_FLOATS = [(name, params) for name, params in CASES if "binary" not in params]
GEOMETRIES: list[dict[str, Any]] = [
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2, "padding": 0},
    {"kernel_size": 1, "stride": 3, "padding": 1},
    {"kernel_size": 5, "stride": 2},
    {"kernel_size": 3, "padding": 0},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 7, "stride": 2, "padding": 3},
    {"kernel_size": (1, 3), "stride": (2, 1)},
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": (2, 5), "stride": (1, 2), "padding": (0, 4), "dilation": (3, 2)},
    {"kernel_size": 3, "stride": 3},
]
EVEN_KERNEL = {"kernel_size": 4, "stride": 2, "padding": 1}


def made(name: str, params: dict, in_channels: int = 16, out_channels: int = 32, **geometry: Any) -> nn.Module:
    """The operator; a binary one as ``Choice.build`` makes it at a slot."""
    own = {key: value for key, value in params.items() if key != "binary"}
    operator = OPERATORS[name](in_channels, out_channels, **geometry, **own)
    if not params.get("binary"):
        return operator
    sizes = (operator.kernel_size, operator.stride, operator.padding, operator.dilation)
    return Choice.of(name, **params).build(Slot("conv", in_channels, out_channels, *sizes))


def batchnorms(module: nn.Module) -> Iterator[str]:
    """The BatchNorms inside, by name, but those in front of binary convolutions, which no fold can remove."""
    kept = {m.norm for m in module.modules() if isinstance(m, BinaryConv2d)}
    for name, m in module.named_modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) and m not in kept:
            yield name


def test_every_operator_has_settings_and_every_option_is_among_them() -> None:
    assert SETTINGS.keys() == OPERATORS.keys()
    for name, settings in SETTINGS.items():
        assert settings
        for option, parameter in OPERATORS[name].hyper_parameters().items():
            words = get_args(parameter.annotation) if get_origin(parameter.annotation) is Literal else ()
            others = (not parameter.default,) if parameter.annotation is bool else (*words,)
            assert {params[option] for params in settings if option in params} >= set(others) - {parameter.default}


def check_shape(name: str, params: dict, geometry: dict, size: tuple[int, int]) -> None:
    padded = {"padding": VanillaConv2d(1, 1, **geometry).padding, **geometry}
    with torch.device("meta"):
        expected = nn.Conv2d(16, 32, **padded)(torch.empty(1, 16, *size)).shape
    assert made(name, params, **geometry).eval()(torch.zeros(1, 16, *size)).shape == expected


@pytest.mark.parametrize(("name", "params"), FIRST)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_shape_is_that_of_conv2d(name: str, params: dict, geometry: dict, size: tuple[int, int]) -> None:
    check_shape(name, params, geometry, size)


@pytest.mark.parametrize(("name", "params"), OTHERS)
@pytest.mark.parametrize("geometry", [{"kernel_size": 3, "stride": 2}, EVEN_KERNEL], ids=str)
def test_shape_is_that_of_conv2d_with_every_setting(name: str, params: dict, geometry: dict) -> None:
    check_shape(name, params, geometry, (9, 7))


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize(("batch", "stride"), [(4, 1), (1, 2)])
def test_every_parameter_learns(name: str, params: dict, batch: int, stride: int) -> None:
    """With a batch of one, too."""
    operator = made(name, params, stride=stride)
    images = torch.randn(batch, 16, 9, 7, requires_grad=True)
    operator(images).square().sum().backward()
    assert [n for n, p in operator.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert [n for n, p in operator.named_parameters() if not p.grad.any()] == []
    assert images.grad.isfinite().all()
    assert images.grad.any()


@pytest.mark.parametrize(("name", "params"), CASES)
def test_channels_that_divide_into_nothing_work_or_are_refused(name: str, params: dict) -> None:
    """A refusal names the operator, the rule, and what it received."""
    for channels in [(13, 7), (7, 31), (64, 65), (65, 64), (3, 10), (1, 1)]:
        try:
            operator = made(name, params, *channels)
        except ValueError as error:
            label, _, rule = str(error).partition(": ")
            assert label == "SK" or OPERATORS[name].__name__.startswith(label)
            assert "must" in rule
            assert {str(c) for c in channels} & set(re.findall(r"\d+", rule))
            assert name not in ("vanilla", "octconv", "depthwise_separable", "pointwise")
        else:
            assert operator(torch.randn(2, channels[0], 5, 6)).shape == (2, channels[1], 5, 6)


@pytest.mark.parametrize(("name", "params"), CASES)
def test_the_stand_in_always_fits_and_keeps_what_fits(name: str, params: dict) -> None:
    for channels in [(1, 1), (2, 3), (4, 16), (16, 4), (16, 64), (30, 30), (512, 128)]:
        slot = Slot("conv", *channels, (3, 3), (1, 1), (1, 1), (1, 1))
        asked = Choice.of(name, **params).resolved(slot)
        assert asked.resolved(slot) == asked
        assert asked.binary == params.get("binary", False)
        stand_in = asked.stand_in(slot)
        assert stand_in.stand_in(slot) == stand_in
        with torch.device("meta"):
            stand_in.build(slot)
            try:
                Choice.of(name, **params).build(slot)
            except ValueError:
                assert stand_in != asked
            else:
                assert stand_in == asked


@pytest.mark.parametrize(("name", "params"), CASES)
def test_resolving_changes_no_network(name: str, params: dict) -> None:
    slot = Slot("conv", 16, 32, (3, 3), (1, 1), (1, 1), (1, 1))
    asked = Choice.of(name, **params)
    with torch.device("meta"):
        shapes = [[p.shape for p in choice.build(slot).parameters()] for choice in (asked, asked.resolved(slot))]
    assert shapes[0] == shapes[1]


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest magnitude."""
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("followed", [True, False])
def test_folding_changes_nothing_but_the_batchnorms(name: str, params: dict, stride: int, followed: bool) -> None:
    operator = made(name, params, stride=stride)
    network = randomised(nn.Sequential(operator, *([nn.BatchNorm2d(32)] if followed else []))).eval()
    images = torch.randn(3, 16, 9, 7)
    expected, folded = network(images), fold(network)
    assert list(batchnorms(folded[0])) == []
    assert apart(folded(images), expected) <= 1e-5
    assert torch.equal(network(images), expected)  # the folded one is a copy
    assert apart(fold(network.double())(images.double()), network(images.double())) <= 1e-9


@pytest.mark.parametrize(("name", "params"), CASES)
def test_survives_deepcopy_and_a_saved_state(name: str, params: dict) -> None:
    operator = randomised(made(name, params)).eval()
    images = torch.randn(1, 16, 6, 6)
    file = io.BytesIO()
    torch.save(operator.state_dict(), file)
    file.seek(0)
    fresh = made(name, params).eval()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(images), operator(images))
    assert torch.equal(copy.deepcopy(operator)(images), operator(images))


@pytest.mark.parametrize(("name", "params"), CASES)
def test_memory_layout_does_not_matter(name: str, params: dict) -> None:
    operator = randomised(made(name, params)).eval()
    images = torch.randn(2, 16, 6, 7)
    expected = operator(images)
    rows = operator.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-4)


def read(x: list[int], *_: Any, out_shape: list[int], **__: Any) -> int:
    return 2 * prod(x)


def written(x: list[int], *_: Any, out_shape: list[int], **__: Any) -> int:
    return 2 * prod(out_shape)


ATEN = torch.ops.aten
# What fvcore counts beside convolutions, as torch's counter takes it: twice, for torch counts 2 a multiply-add.
ELEMENTWISE = {ATEN.mean: read, ATEN.upsample_nearest2d: written, ATEN.upsample_nearest2d.default: written}


def check_flops(name: str, params: dict, geometry: dict) -> None:
    operator = randomised(made(name, params, **geometry))
    images = torch.zeros(1, 16, 9, 7)
    folded = fold(operator)
    with FlopCounterMode(display=False) as convolutions:
        folded(images)
    with FlopCounterMode(display=False, custom_mapping=ELEMENTWISE) as everything:
        folded(images)
    counted = count_flops(operator, (1, 16, 9, 7))
    assert counted >= convolutions.get_total_flops() // 2 > 0
    assert counted == everything.get_total_flops() // 2


@pytest.mark.parametrize(("name", "params"), IN_FLOATS)
@pytest.mark.parametrize("geometry", [{}, {"stride": 2}, EVEN_KERNEL], ids=str)
def test_flops_are_those_of_torchs_own_counter(name: str, params: dict, geometry: dict) -> None:
    """Beyond the convolutions, 1 for each element that is averaged or repeated."""
    check_flops(name, params, geometry)


def check_onnx(name: str, params: dict, geometry: dict) -> None:
    operator = fold(randomised(made(name, params, **geometry)))
    images = torch.randn(2, 16, 9, 7)
    program = torch.onnx.export(operator, (images,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    (output,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert apart(torch.from_numpy(output), operator(images)) <= 1e-5


@pytest.mark.parametrize("name", ["spconv", "octconv"])
def test_onnx_gives_the_same_output(name: str) -> None:
    check_onnx(name, SETTINGS[name][0], {"stride": 2})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("geometry", [{"stride": 2}, EVEN_KERNEL], ids=str)
def test_onnx_gives_the_same_output_with_every_setting(name: str, params: dict, geometry: dict) -> None:
    check_onnx(name, params, geometry)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("wrong", [(0, 4), (4, 0), (4, 4, 0), (4, 4, 3, 0), (4, 4, 3, 1, -1)])
def test_impossible_sizes_are_refused(name: str, wrong: tuple) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        OPERATORS[name](*wrong)


@pytest.mark.parametrize(
    ("operator", "settings"),
    [("spconv", {"heavy": "gwc+pw"}), ("spconv", {"fusion": "max"}), ("compconv", {"depth": 2, "identity": "first"})],
)
def test_an_unknown_word_is_refused_in_python_too(operator: str, settings: dict) -> None:
    with pytest.raises(ValueError, match=r"unknown (heavy|fusion|identity) .*known: "):
        OPERATORS[operator](16, 16, **settings)
