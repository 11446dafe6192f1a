"""Networks that are not ours keep what ours keep: exact costs, YAML, folding; and no YAML has code imported."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
import yaml
from torch import Tensor, nn

from nas.cost.flops import count_flops, count_params
from nas.cost.table import CostTable, measure
from nas.form import parse_form
from nas.metrics import METRICS
from search_spaces import VANILLA, Architecture, Backbone, Space, build, fold, load_space, proxy_of
from search_spaces.backbones import foreign
from search_spaces.checks import BadInput
from search_spaces.space import fingerprint, parse_space

NAMES = (
    "torchvision:squeezenet1_1",  # no BatchNorm, and a convolution for a head
    "timm:resnet10t",  # a deep stem
    *(pytest.param(n, marks=pytest.mark.slow) for n in ("torchvision:resnet18", "torchvision:googlenet")),
    *(pytest.param(n, marks=pytest.mark.slow) for n in ("timm:skresnet18", "timm:dla34")),  # an attention, a tree
)
SMALL = {"name": "resnet20", "classes": 10, "resolution": 32}
CHOICES = {
    "backbone": SMALL,
    "exclude": ["conv1"],
    "choices": [
        {"operator": "vanilla"},
        {"operator": "spconv", "alpha": ["1/4", "1/2"], "groups": [1, 2], "kernel_size": 3},
        {"operator": "compconv", "depth": [1, 2]},
        {"operator": "grouped", "groups": [2, 4096]},
    ],
}
EXACT = {name: METRICS[name] for name in ("flops", "params")}


class Net(nn.Module):
    """Three convolutions that can be searched, one that is called twice, and one that never is."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.first, self.second = nn.Conv2d(16, 32, 3, 1, 1), nn.Conv2d(32, 32, 3, 2, 1)
        self.twice, self.never = nn.Conv2d(32, 32, 3, 1, 1), nn.Conv2d(32, 32, 3, 1, 1)
        self.head = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(torch.relu(self.norm(self.stem(x)))))))
        return self.head(self.twice(self.twice(x)).mean((2, 3)))


def make(num_classes: int = 7) -> nn.Module:
    return Net(num_classes)


def for_ten() -> nn.Module:
    return Net(10)


@pytest.fixture(autouse=True)
def _given() -> Iterator[None]:
    """What a test gives is gone behind it."""
    yield
    foreign.OWN.clear()


def on(name: str, classes: int = 5, resolution: int = 64) -> Space:
    return parse_space("choices", CHOICES, "a test", Backbone(name, classes, resolution))


@pytest.fixture(scope="module", params=NAMES)
def space(request: pytest.FixtureRequest) -> Space:
    return on(request.param)


@pytest.fixture(scope="module")
def table(space: Space) -> CostTable:
    return measure(space, parse_form("cpu"), lambda text: None, EXACT)


def drawn(space: Space, seed: int) -> Architecture:
    rng = random.Random(seed)
    return space.architecture([rng.randrange(len(v.options)) for v in space.variables])


@pytest.mark.parametrize("seed", range(2))
def test_the_sums_of_the_table_are_the_count_of_the_whole_network(space: Space, table: CostTable, seed: int) -> None:
    architecture = drawn(space, seed)
    network, size = architecture.build(), space.backbone.resolution
    assert table.total(architecture) == {
        "flops": count_flops(network, (1, 3, size, size)),
        "params": count_params(network),
    }


def test_it_is_folded_to_the_same_network(space: Space) -> None:
    network = drawn(space, 3).build().double().eval()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        wanted, got = network(images), fold(network)(images)
    assert wanted.shape == (2, 5)
    assert torch.allclose(got, wanted, atol=1e-7 * float(wanted.abs().max()))


def test_its_space_and_its_architectures_are_yamls(space: Space) -> None:
    assert parse_space("choices", yaml.safe_load(yaml.safe_dump(dict(space.document))), "again") == space
    architecture = drawn(space, 1)
    written = yaml.safe_dump(architecture.to_dict(), sort_keys=False)
    assert Architecture.from_dict(yaml.safe_load(written)) == architecture
    proxy, substituted = proxy_of(architecture, width=1.0, resolution=32, classes=6)
    assert not substituted
    assert proxy.build().eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 6)


def test_what_fits_none_of_its_slots_is_left_out(space: Space) -> None:
    choices = space.document["choices"]
    assert isinstance(choices, list)
    assert {"operator": "grouped", "groups": [2]} in choices
    assert space.document["exclude"] in ([], ["conv1"])


def test_batchnorm_with_an_activation_in_it_is_folded_too() -> None:
    network = timm.create_model("mobilenetv3_small_050", num_classes=3).double().eval()
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.weight), nn.init.normal_(norm.bias), nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
    folded, images = fold(network), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    with torch.no_grad():
        assert torch.allclose(folded(images), network(images), atol=1e-9)


def test_size_comes_from_the_library() -> None:
    assert foreign.size_of("torchvision:resnet34") == foreign.Size(1000, 224)
    assert foreign.size_of("torchvision:inception_v3") == foreign.Size(1000, 299)
    assert foreign.size_of("timm:resnet26d") == foreign.Size(1000, 224)


@pytest.mark.parametrize("given", [make, for_ten, Net(10)])
def test_ones_own_network_has_the_slots_that_are_called_once(given: object) -> None:
    name = foreign.give(given)  # type: ignore[arg-type]
    space = on(name, foreign.size_of(name).classes)
    assert list(space.slots) == ["stem", "first", "second"]  # the others would not cost once
    table, architecture = measure(space, parse_form("cpu"), lambda text: None, EXACT), drawn(space, 0)
    network = architecture.build()
    assert table.total(architecture)["flops"] == count_flops(network, (1, 3, 64, 64))


def test_a_function_without_an_argument_for_the_classes_has_those_that_it_gives() -> None:
    name = foreign.give(for_ten)
    assert foreign.size_of(name).classes == 10
    with pytest.raises(BadInput, match="gives 10 classes, 3 are wanted: let its function take num_classes"):
        Backbone(name, 3, 32).build()
    name = foreign.give(make)
    assert Backbone(name, 3, 32).build()(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_a_network_that_is_given_is_built_with_weights_of_its_own() -> None:
    given = Net(10)
    name = foreign.give(given)
    built = Backbone(name, 10, 32).build()
    assert isinstance(built, Net)
    assert not torch.equal(built.first.weight, given.first.weight)
    state = foreign.pretrained(name)
    assert torch.equal(state["first.weight"], given.first.weight)


def test_building_on_meta_uses_up_no_random_numbers() -> None:
    name = foreign.give(make)
    torch.manual_seed(0)
    wanted = torch.rand(1)
    torch.manual_seed(0)
    with torch.device("meta"):
        built = Backbone(name, 3, 32).build()
    assert next(built.parameters()).is_meta
    assert torch.equal(torch.rand(1), wanted)


def test_another_network_of_the_same_name_has_another_fingerprint() -> None:
    backbone = Backbone(foreign.give(make, "nets:net"), 10, 32)
    before = fingerprint(backbone)
    assert fingerprint(backbone) == before
    foreign.give(lambda num_classes: nn.Sequential(Net(num_classes), nn.Identity()), "nets:net")
    assert fingerprint(backbone) != before
    assert fingerprint(Backbone("resnet20", 10, 32)) is None

    kept: list[object] = []

    class Acting(Net):
        def extra_repr(self) -> str:
            kept.append(object())  # which stays, so that the next one is at another place in memory
            return f"act={kept[-1]!r}"

    acting = Backbone(foreign.give(Acting, "nets:acting"), 10, 32)
    assert fingerprint(acting) == fingerprint(acting)


def test_no_yaml_has_code_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_nets.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "a.yaml"
    path.write_text("backbone: {name: 'evil_nets:make', classes: 7, resolution: 32}\nlayers: {}\n")
    with pytest.raises(BadInput, match=r"a\.yaml: 'evil_nets:make' is code of its user's own.*--model evil_nets:make"):
        build(path)
    assert "evil_nets" not in sys.modules
    assert isinstance(build(path, model=make), Net)


def test_a_yaml_of_a_networks_name_needs_no_model(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("backbone: {name: resnet20, classes: 7, resolution: 32}\nlayers: {}\n")
    with pytest.raises(BadInput, match="its backbone is 'resnet20', which needs no model"):
        build(path, model=make)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torchvision:resnet35", r"torchvision has no model 'resnet35': did you mean resnet\d+ or"),
        ("timm:resnet26e", "timm has no model 'resnet26e': did you mean"),
        ("timm:hf-hub:someone/net", "timm has no model"),
        ("somewhere:net", "is code of its user's own"),
    ],
)
def test_what_there_is_not_is_said(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Backbone(name, 10, 32)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module_here:make", "there is no module 'no_such_module_here'"),
        (f"{__name__}:nothing", "has no 'nothing'"),
        ("torchvision:resnet18", "code of your own"),
        (f"{__name__}:NAMES", "must be a name, a function"),
        ("..:make", "is no module's name"),
    ],
)
def test_what_can_not_be_imported_is_said(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        foreign.imported(name)


def test_the_channels_of_a_foreign_network_are_not_scaled() -> None:
    with pytest.raises(BadInput, match=r"its width must be 1, got 0\.5"):
        Backbone("torchvision:resnet18", 10, 32, 0.5)


def test_a_network_without_slots_says_why() -> None:
    with pytest.raises(BadInput, match=r"ScaledStdConv2d: it is no nn\.Conv2d"):
        load_space("spconv_layerwise", Backbone("timm:nf_resnet26", 10, 64))
    with pytest.raises(BadInput, match=r"no slot of timm:convnext_atto has more than one choice; its \d+ slots"):
        load_space("spconv_layerwise", Backbone("timm:convnext_atto", 10, 64))


def test_what_gives_no_logits_says_so() -> None:
    name = foreign.give(lambda num_classes: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)), "nets:maps")
    with pytest.raises(BadInput, match=r"must give logits \(B, classes\).*got \(2, 8, 28, 28\)"):
        load_space("spconv_layerwise", Backbone(name, 8, 32))


def test_vanilla_is_in_every_space(space: Space) -> None:
    assert space.indices(space.uniform(VANILLA)) is not None
