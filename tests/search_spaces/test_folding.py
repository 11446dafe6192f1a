"""``fold`` gives the same network, whatever the network does with its modules, or says in one line why it can't."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from search_spaces import Choice, Slot, fold
from search_spaces.checks import BadInput
from search_spaces.operators import OPERATORS
from search_spaces.operators.base import Operator
from search_spaces.operators.binary import BinaryConv2d

from .test_operators import SETTINGS, apart, batchnorms, randomised

WIDTH = 32
SLOT = Slot("0", WIDTH, WIDTH, (3, 3), (1, 1), (1, 1), (1, 1))
IMAGES = (2, WIDTH, 7, 6)
CASES = [(name, params) for name in OPERATORS for params in SETTINGS[name]]
CLOSE = {torch.float64: 1e-9, torch.float32: 2e-4, torch.bfloat16: 0.1, torch.float16: 0.02}


def conv() -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, 3, padding=1)


def bn() -> nn.BatchNorm2d:
    return nn.BatchNorm2d(WIDTH)


class Network(nn.Module):
    """Modules by name, and what is done with them: ``body(self, x)``."""

    def __init__(self, body: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.body = body
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.body(self, x)


def outputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        found = network.eval()(images)
    return [found] if isinstance(found, Tensor) else list(found)


def alike(got: Tensor, wanted: Tensor) -> bool:
    """But for rounding. In half precision a binary convolution may see other signs, so a tenth may differ."""
    assert got.dtype == wanted.dtype
    apart = (got.double() - wanted.double()).abs() / wanted.double().abs().max()
    least = 0.9 if got.dtype in (torch.float16, torch.bfloat16) else 1.0
    return (apart <= CLOSE[got.dtype]).double().mean().item() >= least


def same_after_folding(network: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Checks it, and returns the folded network; folded twice it is the same again."""
    network = randomised(network.float()).to(dtype)
    images = torch.randn(IMAGES).to(dtype)
    expected = outputs(network, images)
    folded = fold(network)
    for once_more in (folded, fold(folded)):
        assert all(map(alike, outputs(once_more, images), expected))
    assert all(map(torch.equal, outputs(network, images), expected))  # what was folded is a copy
    return folded


def left(network: nn.Module) -> int:
    """BatchNorms, each once."""
    return len(list(batchnorms(network)))


SHARED: dict[str, tuple[Callable[..., Any], int]] = {  # body with modules c, d (convolutions), a, b (BatchNorms) → left
    "another reader of the convolution's module": (lambda m, x: (m.a(m.c(x)), m.c(x + 1)), 1),
    "one convolution, two BatchNorms": (lambda m, x: (m.a(m.c(x)), m.b(m.c(x + 1))), 2),
    "the BatchNorm reads a sum as well": (lambda m, x: m.a(x + m.a(m.c(x))), 1),
    "one BatchNorm, two convolutions": (lambda m, x: m.a(m.d(F.relu(m.a(m.c(x))))), 1),
    "another reader of the output": (lambda m, x: (y := m.c(x), m.a(y)), 1),
    "changed in place before": (lambda m, x: m.a(m.c(x).add_(1)), 1),
    "a convolution of what it gave": (lambda m, x: m.a(m.c(m.c(x))), 1),
    "the kernel is read elsewhere": (lambda m, x: m.a(m.c(x)) + F.conv2d(x, m.c.weight, padding=1), 1),
    "the scale is read elsewhere": (lambda m, x: m.a(m.c(x)) + m.a.weight[:, None, None], 1),
    "the statistics are read elsewhere": (lambda m, x: m.a(m.c(x)) + m.a.running_mean[:, None, None], 1),
    "the same pair twice": (lambda m, x: m.a(m.c(x)) + m.a(m.c(x.flip(2))), 0),
    "two pairs": (lambda m, x: m.b(m.d(F.relu(m.a(m.c(x))))), 0),
    "by keyword": (lambda m, x: m.a(input=m.c(input=x)), 0),
}


@pytest.mark.parametrize("body", SHARED)
def test_only_pairs_that_belong_together_alone_are_folded(body: str) -> None:
    act, stay = SHARED[body]
    used = {n for n in "cdab" if f"m.{n}" in str(act.__code__.co_names) or n in act.__code__.co_names}
    network = Network(act, **{n: conv() if n in "cd" else bn() for n in sorted(used)})
    assert left(same_after_folding(network)) == stay


def test_two_names_of_one_module_are_one() -> None:
    one, norm = conv(), bn()
    pair = Network(lambda m, x: m.norm(m.one(x)) + m.other_norm(m.other(x)), one=one, norm=norm)
    pair.other, pair.other_norm = one, norm
    folded = same_after_folding(pair)
    assert left(folded) == 0
    assert folded.one is folded.other
    parted = Network(lambda m, x: m.norm(m.one(x)) + m.other(x), one=one, norm=norm)
    parted.other = one
    assert left(same_after_folding(parted)) == 1


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
def test_every_operator_in_every_precision(name: str, params: dict[str, Any], dtype: torch.dtype) -> None:
    """Alone, in front of a BatchNorm, and in front of one that hardly lets anything through."""
    operator = Choice.of(name, **params).build(SLOT)
    for behind in ((), (bn(),)):
        folded = same_after_folding(nn.Sequential(copy.deepcopy(operator), *behind), dtype)
        assert dtype in (torch.float16, torch.bfloat16) or left(folded[0]) == 0
    network = randomised(nn.Sequential(copy.deepcopy(operator), bn()))
    with torch.no_grad():
        network[1].weight.copy_(torch.full((WIDTH,), 2e-3).copysign(network[1].weight))
        network[1].bias.zero_()
    network, images = network.to(dtype), torch.randn(IMAGES).to(dtype)
    assert all(map(alike, outputs(fold(network), images), outputs(network, images)))


def test_what_half_precision_cannot_hold_stays() -> None:
    network = nn.Sequential(conv(), bn())
    randomised(network)
    with torch.no_grad():
        network[1].weight.fill_(1e-7)
        network[1].running_var.fill_(1.0)
    network.half().eval()
    folded = fold(network)
    assert left(folded) == 1
    assert left(fold(network.float())) == 0


class Activated(nn.BatchNorm2d):
    """One that does more, as timm's."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(super().forward(input))


def pruned(module: nn.Conv2d) -> nn.Conv2d:
    torch.nn.utils.prune.l1_unstructured(module, "weight", 0.5)
    return module


def hooked(module: nn.Conv2d) -> nn.Conv2d:
    module.register_forward_hook(lambda m, inputs, output: output * 2)
    return module


def patched(module: nn.Conv2d) -> nn.Conv2d:
    module.forward = lambda x: F.relu(nn.Conv2d.forward(module, x))  # type: ignore[method-assign]
    return module


KEPT: dict[str, Callable[[], Sequence[nn.Module]]] = {
    "a subclass that does more": lambda: [conv(), Activated(WIDTH)],
    "no running statistics": lambda: [conv(), nn.BatchNorm2d(WIDTH, track_running_stats=False)],
    "weight norm": lambda: [torch.nn.utils.parametrizations.weight_norm(conv()), bn()],
    "spectral norm": lambda: [torch.nn.utils.parametrizations.spectral_norm(conv()), bn()],
    "weight norm by hooks": lambda: [torch.nn.utils.weight_norm(conv()), bn()],
    "spectral norm by hooks": lambda: [torch.nn.utils.spectral_norm(conv()), bn()],
    "pruned": lambda: [pruned(conv()), bn()],
    "hooked": lambda: [hooked(conv()), bn()],
    "another forward": lambda: [patched(conv()), bn()],
    "a transposed convolution": lambda: [nn.ConvTranspose2d(WIDTH, WIDTH, 3, padding=1), bn()],
    "a ReLU between": lambda: [conv(), nn.ReLU(), bn()],
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("what", KEPT)
def test_whatever_does_more_than_its_class_stays_as_it_is(what: str) -> None:
    network = nn.Sequential(*KEPT[what]()).eval()
    images = torch.randn(IMAGES)
    expected, folded = outputs(network, images), fold(network)
    assert all(map(torch.equal, outputs(folded, images), expected))
    assert left(folded) == 1


def test_synchronised_batchnorms_fold_and_so_do_those_without_parameters() -> None:
    for norm in (nn.SyncBatchNorm(WIDTH), nn.BatchNorm2d(WIDTH, affine=False)):
        network = nn.Sequential(conv(), norm).eval()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        images = torch.randn(IMAGES)
        folded = fold(network)
        assert isinstance(folded[1], nn.Identity)
        scale = (norm.running_var + norm.eps).rsqrt()[:, None, None]
        wanted = (network[0](images) - norm.running_mean[:, None, None]) * scale
        assert apart(folded(images), wanted) <= 1e-5


@pytest.mark.parametrize("module", [conv(), bn(), nn.ReLU(), nn.Sequential()], ids=lambda m: type(m).__name__)
def test_a_module_alone_is_a_network_too(module: nn.Module) -> None:
    same_after_folding(module)


class Choosy(nn.Module):
    """What torch.fx can't follow: it looks at the numbers."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if x.mean() > 0 else self.inner(-x)


def test_what_cannot_be_followed_stays_and_the_rest_is_folded() -> None:
    operator = Choice.of("spconv", alpha=0.5, groups=2).build(SLOT)
    folded = same_after_folding(nn.Sequential(conv(), bn(), Choosy(conv(), bn(), operator), conv(), bn()))
    assert left(folded) == 1  # that in Choosy; the operator's own are its own affair
    shared = conv()
    beside = nn.Sequential(shared, bn(), Choosy(shared, bn()))
    assert left(same_after_folding(beside)) == 2


def test_a_network_that_cannot_be_followed_at_all_says_so() -> None:
    with pytest.raises(BadInput, match=r"can't follow the forward of Choosy .*fold the parts"):
        fold(Choosy(conv(), bn()))


def test_a_detector_says_so_and_its_parts_are_folded() -> None:
    detector = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).eval()
    with pytest.raises(BadInput, match=r"can't follow the forward of SSD"):
        fold(detector)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted, found = detector.backbone(images), fold(detector.backbone)(images)
    assert all(apart(found[name], wanted[name]) <= 1e-4 for name in wanted)
    assert left(fold(detector.backbone)) < left(detector.backbone) / 10


THEIRS = {  # the share of BatchNorms that may stay
    "resnet26d": 0.0,
    "seresnet18": 0.0,
    "ghostnet_100": 0.02,  # one has another reader in front of it
    "vgg11_bn": 0.0,  # torch.fx can't follow its last layers
    "cspresnet50": 1.0,  # its BatchNorms do more
    "nf_resnet50": 0.0,
}


@pytest.mark.parametrize("name", THEIRS)
def test_other_peoples_networks_are_the_same_folded(name: str) -> None:
    network = randomised(timm.create_model(name, num_classes=5)).double().eval()
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        folded = fold(network)
        assert apart(folded(images), network(images)) <= 1e-9
    assert left(folded) <= THEIRS[name] * left(network)


def test_wrapped_networks_say_what_to_fold() -> None:
    with pytest.raises(BadInput, match=r"got a DataParallel; fold what it wraps: fold\(model.module\)"):
        fold(nn.DataParallel(conv()))
    with pytest.raises(BadInput, match=r"fold\(model._orig_mod\)"):
        fold(torch.compile(nn.Sequential(conv(), bn())))
    with pytest.raises(BadInput, match="before it is scripted"):
        fold(torch.jit.trace(conv().eval(), torch.randn(IMAGES)))


class Optional(nn.Module):
    """Its further argument decides what it does; the default is what is folded for."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.a = conv(), bn()

    def forward(self, x: Tensor, mask: Tensor | None = None, raw: bool = False) -> Tensor:
        if mask is not None:
            x = x * mask
        y = self.c(x)
        return y if raw else self.a(y)


def test_further_arguments_are_at_their_defaults() -> None:
    assert left(same_after_folding(Optional())) == 0


def test_what_a_forward_keeps_is_not_left_in_the_network() -> None:
    def keep(m: Network, x: Tensor) -> Tensor:
        m.kept = m.c(x)
        return m.a(m.kept)

    network = Network(keep, c=conv(), a=bn()).eval()
    folded = fold(network)
    assert not hasattr(network, "kept")
    assert not hasattr(folded, "kept")
    assert left(folded) == 0
    folded(torch.randn(IMAGES))
    assert isinstance(folded.kept, Tensor)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """A few convolutions, operators and BatchNorms, some under two names, and a program of calls at random."""
    kinds = st.sampled_from(["conv", "operator", "bn"])
    named: dict[str, nn.Module] = {"c0": conv(), "b0": bn()}
    for i, kind in enumerate(draw(st.lists(kinds, max_size=4)), 1):
        if kind == "operator":
            name, params = draw(st.sampled_from(CASES))
            named[f"o{i}"] = Choice.of(name, **params).build(SLOT)
        else:
            named[f"{kind[0]}{i}"] = conv() if kind == "conv" else bn()
    for i, name in enumerate(draw(st.lists(st.sampled_from(sorted(named)), max_size=2))):
        named[f"alias{i}"] = named[name]
    steps = st.one_of(
        *[st.tuples(st.just("call"), st.sampled_from(sorted(named)), st.integers(0, 9))] * 4,
        st.tuples(st.just("pair"), st.sampled_from(sorted(named)), st.sampled_from(sorted(named)), st.integers(0, 9)),
        st.tuples(st.sampled_from(["add", "relu", "relu_", "cat", "kernel"]), st.integers(0, 9), st.integers(0, 9)),
    )
    program, shown = draw(st.lists(steps, min_size=1, max_size=7)), draw(st.lists(st.integers(0, 9), max_size=2))

    def body(m: Network, x: Tensor) -> list[Tensor]:
        values = [x]
        for what, *about in program:
            at = [values[-1 - i % len(values)] for i in about if isinstance(i, int)]
            if what == "call":
                value = getattr(m, about[0])(at[0])
            elif what == "pair":
                value = getattr(m, about[1])(getattr(m, about[0])(at[0]))
            elif what == "kernel":
                value = F.conv2d(at[0], m.c0.weight, padding=1) / WIDTH
            elif what == "cat":
                value = torch.cat([at[0][:, : WIDTH // 2], at[1][:, WIDTH // 2 :]], 1)
            else:
                value = at[0] + at[1] if what == "add" else F.relu(at[0], inplace=what == "relu_" and at[0] is not x)
            values.append(value)
        return [values[-1], *(values[i % len(values)] for i in shown)]

    return Network(body, **named)


@settings(max_examples=150, deadline=None)
@given(networks(), st.sampled_from([torch.float64, torch.float64, torch.float16]))
def test_any_network_is_the_same_folded(network: Network, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    is_binary = any(isinstance(m, BinaryConv2d) for m in network.modules())  # rounding, then signs, then rounding, …
    same_after_folding(network, torch.float64 if is_binary else dtype)


def test_the_operators_here_are_all() -> None:
    assert {name for name, _ in CASES} == set(OPERATORS)
    assert all(isinstance(Choice.of(n, **p).build(SLOT), Operator) for n, p in CASES if not p.get("binary"))
