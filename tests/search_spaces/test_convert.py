"""``convert`` on our own and on other people's networks."""

import copy
import itertools
import warnings
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from nas.cost.flops import trace_flops
from search_spaces import VANILLA, Backbone, Choice, convert, find_slots, fold, inherit
from search_spaces.checks import BadInput
from search_spaces.folding import normalised
from search_spaces.operators import OPERATORS

from .test_operators import randomised

SPCONV = Choice.of("spconv", alpha=1 / 4, groups=2)


CHOICES = [
    *(Choice.of(name) for name in OPERATORS if name != "vanilla"),
    Choice.of("vanilla", binary=True),
    Choice.of("spconv", heavy="gwc-pwc", fusion="sum"),
    Choice.of("compconv", depth=2, identity="conv", binary=True),
    Choice.of("octconv", alpha=1 / 4, alpha_in=0),
]
NETWORKS = ["resnet50", "vgg16_bn", "densenet121", "mobilenet_v3_large", "regnet_y_400mf", "wide_resnet50_2"]


def slow(*names: str) -> list:
    return [pytest.param(n, marks=pytest.mark.slow) if n in names else n for n in NETWORKS]


def nearest_choices(network: nn.Module) -> dict[str, Choice]:
    """One choice after the other for the slots, as near as their channels allow."""
    asked = zip(find_slots(network).items(), itertools.cycle(CHOICES), strict=False)
    return {n: choice.resolved(slot).stand_in(slot) for (n, slot), choice in asked}


def input_shapes(network: nn.Module, names: Iterable[str], images: Tensor) -> dict[str, torch.Size]:
    """What each module reads when ``network`` reads ``images``."""
    shapes: dict[str, torch.Size] = {}
    hooks = [
        network.get_submodule(n).register_forward_pre_hook(lambda _, inputs, n=n: shapes.update({n: inputs[0].shape}))
        for n in names
    ]
    network(images)
    for hook in hooks:
        hook.remove()
    return shapes


@pytest.mark.parametrize("name", slow("vgg16_bn", "wide_resnet50_2"))
def test_any_network_keeps_its_shape_and_trains(name: str) -> None:
    network = getattr(torchvision.models, name)(weights=None, num_classes=5)
    chosen = nearest_choices(network)
    convert(network, chosen)
    out = network(torch.randn(2, 3, 64, 64))
    out.square().sum().backward()
    assert out.shape == (2, 5)
    assert find_slots(network).keys() & chosen.keys() == set()
    for converted in map(network.get_submodule, chosen):
        gradients = [p.grad for p in converted.parameters()]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        assert any(g.any() for g in gradients)


@pytest.mark.parametrize("name", slow("vgg16_bn", "densenet121", "regnet_y_400mf", "wide_resnet50_2"))
def test_flops_drop_by_what_the_layers_save(name: str) -> None:
    """The whole network's change is the sum of the slots', each counted alone at the slot's input."""
    network = getattr(torchvision.models, name)(weights=None, num_classes=5)
    chosen = nearest_choices(network)
    shape = (1, 3, 64, 64)
    shapes = input_shapes(network.eval(), chosen, torch.zeros(shape))
    before = trace_flops(network, shape)
    convs = {n: network.get_submodule(n) for n in chosen}
    after = trace_flops(convert(network, chosen).eval(), shape)
    changes = [trace_flops(network.get_submodule(n), shapes[n]) - trace_flops(convs[n], shapes[n]) for n in chosen]
    assert after - before == sum(changes) < 0


@pytest.mark.parametrize("name", ["resnet50_cifar", "resnet20", "vgg16"])
def test_folding_a_converted_network_keeps_its_output(name: str) -> None:
    """To rounding, whatever stands behind each operator."""
    network = Backbone(name, 10, 32, 0.5).build()
    convert(network, nearest_choices(network))
    randomised(network.double()).eval()
    images = torch.randn(2, 3, 15, 17, dtype=torch.float64)
    torch.testing.assert_close(fold(network)(images), network(images), rtol=1e-7, atol=1e-7)


def test_vanilla_leaves_the_convolution_and_its_weights() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
    weight = network[0].weight
    assert convert(network, {"0": VANILLA})[0].weight is weight


def test_geometry_is_taken_over() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=2, dilation=2))
    images = torch.randn(1, 8, 11, 9)
    shape = network(images).shape
    assert convert(network, {"0": SPCONV})(images).shape == shape


@pytest.mark.parametrize(
    ("network", "name", "says"),
    [
        (nn.Sequential(nn.Conv2d(4, 4, 3)), "1", "unknown slot '1'"),
        (nn.Sequential(nn.ReLU()), "0", "it is no nn.Conv2d"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "0", "it has 2 groups"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, padding_mode="reflect")), "0", "it pads with 'reflect'"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, padding="same")), "0", "its padding is 'same'"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), "0", "slot '0': SPConv: groups must divide"),
    ],
)
def test_what_can_not_be_replaced_says_why(network: nn.Module, name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        convert(network, {name: SPCONV})


def test_a_refused_conversion_changes_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 7, 3))
    with pytest.raises(ValueError, match="slot '1'"):
        convert(network, {"0": SPCONV, "1": SPCONV})
    assert type(network[0]) is nn.Conv2d


BIASED = Choice.of("grouped", groups=2)


def one(**how: object) -> nn.Conv2d:
    return nn.Conv2d(8, 8, 3, padding=1, **how)


def test_a_bias_that_nothing_normalises_away_stays() -> None:
    """RetinaNet's ``cls_logits``, whose −4.6 is a prior; VGG without BatchNorms."""
    head = nn.Sequential(one(), nn.ReLU(), one(), nn.BatchNorm2d(8), one(bias=False))
    nn.init.constant_(head[0].bias, -4.595)
    biases = head[0].bias.detach().clone()
    convert(head, dict.fromkeys("024", BIASED))
    assert torch.equal(head[0].bias, biases)
    assert head[2].bias is None  # the BatchNorm would take it away
    assert head[4].bias is None  # there was none
    assert head(torch.zeros(1, 8, 4, 4)).shape == (1, 8, 4, 4)
    with torch.no_grad():
        zeros = head[0](torch.zeros(1, 8, 4, 4))
    assert torch.allclose(zeros, torch.full_like(zeros, -4.595))


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_operator_keeps_a_bias_and_folds_and_inherits_with_it(choice: Choice) -> None:
    images = torch.randn(4, 32, 6, 6)
    dense = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()).eval()
    nn.init.normal_(dense[0].bias, 3.0)
    network = convert(copy.deepcopy(dense), {"0": choice})
    assert torch.equal(network[0].bias, dense[0].bias)
    inherit(network, dense, images)
    with torch.no_grad():
        means = (dense[0](images).mean((0, 2, 3)), network.eval()[0](images).mean((0, 2, 3)))
    torch.testing.assert_close(*means, rtol=1e-3, atol=1e-3)
    randomised(network)
    behind = randomised(nn.Sequential(network[0], nn.BatchNorm2d(32))).double().eval()
    wanted, found = behind(images.double()), fold(behind)(images.double())
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-7)


def state_of(conv: nn.Conv2d) -> dict[str, object]:
    weight = conv.weight
    rows = not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)
    return {
        "training": conv.training,
        "device": weight.device.type,
        "dtype": weight.dtype,
        "trained": weight.requires_grad,
        "rows": rows,
    }


def states_of(operator: nn.Module) -> list[dict[str, object]]:
    """Of the convolutions inside, with a kernel that has a layout."""
    convs = [m for m in operator.modules() if isinstance(m, nn.Conv2d)]
    return [state_of(c) for c in convs if 1 not in (*c.weight.shape[1:], c.weight.shape[0])]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_mode_type_layout_device_and_training_are_taken_over(choice: Choice) -> None:
    for change in (
        lambda m: m,
        lambda m: m.eval(),
        lambda m: m.requires_grad_(requires_grad=False),
        lambda m: m.half().eval(),
        lambda m: m.double().to(memory_format=torch.channels_last),
        lambda m: m.to("meta"),
    ):
        network = change(nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, bias=False)))
        before = state_of(network[0])
        operator = convert(network, {"0": choice})[0]
        assert all(state == before for state in states_of(operator))
        assert {p.dtype for p in operator.parameters()} == {before["dtype"]}
        assert {p.requires_grad for p in operator.parameters()} == {before["trained"]}
        assert {m.training for m in operator.modules()} == {before["training"]}


def zoo() -> list:
    """Other people's networks: classification, segmentation, detection; with and without BatchNorm or bias."""
    seen = torchvision.models
    names = [
        *("alexnet", "vgg11", "vgg13_bn", "resnet18", "resnext50_32x4d", "squeezenet1_1", "densenet121", "googlenet"),
        *("mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5", "wide_resnet50_2"),
        *("efficientnet_b0", "convnext_tiny"),
    ]
    found = [(n, lambda n=n: getattr(seen, n)(weights=None)) for n in names]
    plain = {"weights": None, "weights_backbone": None}
    found += [
        (n, lambda n=n: getattr(seen.segmentation, n)(**plain)) for n in ("fcn_resnet50", "lraspp_mobilenet_v3_large")
    ]
    found += [
        (n, lambda n=n: getattr(seen.detection, n)(**plain))
        for n in ("retinanet_resnet50_fpn", "ssdlite320_mobilenet_v3_large")
    ]
    theirs = [
        *("resnet26d", "vgg11_bn", "repvgg_a0", "dla34", "hrnet_w18_small", "cspresnet50", "nf_resnet50"),
        *("ghostnet_100", "fbnetc_100", "seresnet18"),
    ]
    return [*found, *((f"timm {n}", lambda n=n: timm.create_model(n)) for n in theirs)]


def names_of(network: nn.Module, module: nn.Module) -> list[str]:
    return [name for name, m in network.named_modules(remove_duplicate=False) if m is module]


def without_bias(network: nn.Module) -> set[nn.Module]:
    """Convolutions whose bias a BatchNorm takes away, as far as that can be seen."""
    try:
        return {network.get_submodule(name) for name in normalised(network)}
    except BadInput:
        return set()


@pytest.mark.parametrize(("name", "make"), [pytest.param(*each, id=each[0]) for each in zoo()])
def test_what_is_replaced_in_other_peoples_networks_is_as_it_was(name: str, make: Callable[[], nn.Module]) -> None:
    """Mode, type, layout, training, sharing, and biases that count. (On meta, where building takes no time.)"""
    with torch.device("meta"):
        network = make().half().eval()
    network.requires_grad_(requires_grad=False)
    if name == "timm nf_resnet50":
        with pytest.warns(
            UserWarning, match=r"no convolution of \w+ can be replaced: \d+ × ScaledStdConv2d: it is no nn"
        ):
            assert find_slots(network) == {}
        with pytest.raises(
            BadInput, match=r"no convolution of \w+ can be replaced: \d+ × ScaledStdConv2d: it is no nn"
        ):
            convert(network, {"absent": "grouped"})
        return
    chosen = dict(itertools.islice(nearest_choices(network).items(), 40))
    before = {n: network.get_submodule(n) for n in chosen}
    names, taken = {n: names_of(network, m) for n, m in before.items()}, without_bias(network)
    convert(network, chosen)
    for slot, conv in before.items():
        operator = network.get_submodule(slot)
        assert names_of(network, operator) == names[slot]
        found = {(p.dtype, p.requires_grad, p.device.type) for p in operator.parameters()}
        assert found == {(torch.half, False, "meta")}
        assert not any(m.training for m in operator.modules())
        assert (operator.bias is not None) == (conv.bias is not None and conv not in taken)
    assert not find_slots(network).keys() & chosen.keys()


@pytest.mark.parametrize(
    ("make", "stays"),
    [
        (torchvision.models.alexnet, True),
        (torchvision.models.vgg11, True),
        (torchvision.models.squeezenet1_1, True),
        (torchvision.models.vgg13_bn, False),
        (lambda: timm.create_model("vgg11_bn"), False),
    ],
)
def test_a_networks_biases_stay_where_it_has_no_batchnorms(make: Callable[[], nn.Module], stays: bool) -> None:
    with torch.device("meta"):
        network = make()
    chosen = {n: c for n, c in nearest_choices(network).items() if n.startswith("features.")}
    assert all(network.get_submodule(n).bias is not None for n in chosen)
    convert(network, chosen)
    assert {network.get_submodule(n).bias is not None for n in chosen} == {stays}


def test_one_convolution_under_two_names_is_replaced_under_both() -> None:
    network = nn.ModuleDict({"a": one(), "b": one()})
    network["c"] = network["a"]
    other = convert(copy.deepcopy(network), {"c": BIASED})
    assert other["a"] is other["c"]
    assert type(other["b"]) is nn.Conv2d
    assert convert(copy.deepcopy(network), {"a": BIASED, "c": BIASED})["a"].groups == 2
    with pytest.raises(BadInput, match="'a' and 'c' are one convolution: got grouped"):
        convert(network, {"a": BIASED, "c": VANILLA})


def test_a_convolution_alone_is_replaced_by_what_is_returned() -> None:
    conv = one()
    assert list(find_slots(conv)) == [""]
    operator = convert(conv, {"": BIASED})
    assert operator.groups == 2
    assert torch.equal(operator.bias, conv.bias)


def test_the_inside_of_an_operator_is_no_slot() -> None:
    network = convert(nn.Sequential(one()), {"0": "spconv"})
    assert find_slots(network) == {}
    with pytest.raises(BadInput, match=r"'0\.gwc' can't be replaced: it is inside an operator"):
        convert(network, {"0.gwc": SPCONV})


def test_hooks_that_are_lost_are_named() -> None:
    network = nn.Sequential(one(), one())
    network[1].register_forward_hook(lambda *_: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(network, {"0": BIASED})
    with pytest.warns(UserWarning, match="hooks of 1 are gone"):
        convert(network, {"1": BIASED})


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_what_is_built_on_meta_works_once_its_state_is_loaded(choice: Choice) -> None:
    made = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1))
    with torch.device("meta"):
        bare = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1))
    network = randomised(convert(made, {"0": choice})).eval()
    empty = convert(bare, {"0": choice}).to_empty(device="cpu").eval()
    empty.load_state_dict(network.state_dict())
    images = torch.randn(2, 32, 6, 5)
    assert torch.equal(empty(images), network(images))


def test_what_can_only_mean_one_thing_is_taken() -> None:
    wanted = Choice.of("spconv", alpha=1 / 2, groups=2)
    assert Choice.of("spconv", alpha="1/2", groups=np.int64(2)) == wanted
    assert Choice.of("spconv", alpha=np.float32(0.5), groups=2.0) == wanted
    for asked in (wanted, {"operator": "spconv", "alpha": "1/2", "groups": 2}):
        assert convert(nn.Sequential(one()), {"0": asked})[0].groups == 2
    assert type(convert(nn.Sequential(one()), {"0": "ghost"})[0]).__name__ == "GhostConv2d"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("gost", "unknown operator 'gost': did you mean 'ghost'"),
        (2, "a choice, an operator's name or a mapping is needed, got 2"),
        ({"alpha": 1}, "a choice is a mapping with 'operator'"),
        ({"operator": "spconv", "alpha": "half"}, "alpha must be a number or a fraction such as 1/4, got 'half'"),
        ({"operator": "spconv", "beta": 1}, "unknown hyper-parameter of spconv 'beta'"),
        ({"operator": "spconv", "groups": 1.5}, "groups must be an integer"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(asked: object, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        convert(nn.Sequential(one()), {"0": asked})
    assert "\n" not in str(refused.value)
