"""Every space, and the errors of a space's or an architecture's YAML."""

import functools
from pathlib import Path

import pytest
import torch
import yaml

from search_spaces import VANILLA, Architecture, Backbone, Choice, build, list_spaces, load_architecture, load_space
from search_spaces.architecture import proxy_of
from search_spaces.checks import BadInput
from search_spaces.operators import OPERATORS
from search_spaces.space import backbone_slots

SPACES = list_spaces()
loaded = functools.cache(load_space)


def middle(space) -> Architecture:
    """Some architecture with many different options."""
    return space.architecture([i % len(v.options) for i, v in enumerate(space.variables)])


@pytest.mark.parametrize("name", SPACES)
def test_every_space_builds_and_options_differ(name: str) -> None:
    space = loaded(name)
    assert all(len({o.choices for o in v.options}) == len(v.options) > 1 for v in space.variables)
    assert list(space.slots) == [s for s, _ in middle(space).layers]
    with torch.device("meta"):
        network = middle(space).build().eval()
        size = space.backbone.resolution
        assert network(torch.empty(1, 3, size, size)).shape == (1, space.backbone.classes)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("width", [1 / 16, 1 / 4])
def test_every_choice_has_a_stand_in_in_a_narrow_proxy(name: str, width: float) -> None:
    space = loaded(name)
    for shift in (0, 7, 13):
        target = space.architecture([(i + shift) % len(v.options) for i, v in enumerate(space.variables)])
        proxy, changed = proxy_of(target, width=width, resolution=24, classes=10)
        assert [n for n, _ in proxy.layers] == [n for n, _ in target.layers]
        assert {n for n, c in target.layers if c != dict(proxy.layers)[n]} == set(changed)
        with torch.device("meta"):
            proxy.build()


@pytest.mark.parametrize("name", SPACES)
def test_at_full_width_nothing_is_substituted(name: str) -> None:
    space = loaded(name)
    longest = max(len(v.options) for v in space.variables)
    for step in range(longest):
        target = space.architecture([min(step, len(v.options) - 1) for v in space.variables])
        assert proxy_of(target, width=1, resolution=32, classes=10)[1] == ()


def test_spconv_layerwise_is_every_3x3_of_resnet50() -> None:
    space = loaded("spconv_layerwise")
    assert [v.name for v in space.variables] == [
        f"layer{stage + 1}.{block}.conv2" for stage, blocks in enumerate((3, 4, 6, 3)) for block in range(blocks)
    ]
    options = [o.asked for o in space.variables[0].options]
    assert VANILLA in options
    assert Choice.of("spconv", alpha=1 / 16, groups=4) in options
    assert Choice.of("spconv", alpha=1 / 16, groups=8) not in options  # 4 channels have no 8 groups


def test_compconv_c0_decides_by_stage_and_depths_follow_eq_6() -> None:
    space = loaded("compconv_c0")
    assert [v.name for v in space.variables] == ["layer1", "layer2", "layer3", "layer4"]
    c0 = {o.asked.to_dict()["c0"]: dict(zip(space.variables[3].slots, o.choices)) for o in space.variables[3].options}  # noqa: B905
    assert c0[512]["layer4.1.conv1"] == Choice.of("compconv", depth=3)  # 2048 input channels
    assert c0[512]["layer4.1.conv2"] == Choice.of("compconv", depth=1)  # 512 input channels


def test_keys_are_stable_and_tell_networks_apart() -> None:
    """The hash must be the same on every machine and in every version: ledgers hold it."""
    backbone = Backbone("resnet20", 10, 32)
    one = Architecture(backbone, (("layer1.0.conv1", Choice.of("spconv", alpha=1 / 4, groups=2)),))
    assert one.key == "052a2171df6db9c6"
    assert one.key == Architecture(backbone, (*one.layers, ("layer1.0.conv2", VANILLA))).key
    assert one.key != Architecture(backbone, (("layer1.0.conv1", Choice.of("spconv", alpha=1 / 4, groups=1)),)).key


@pytest.mark.parametrize("name", SPACES)
def test_architectures_survive_yaml(name: str, tmp_path: Path) -> None:
    architecture = middle(loaded(name))
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(architecture.to_dict()))
    assert load_architecture(file) == architecture
    assert load_architecture(file).key == architecture.key


GOOD = {"backbone": {"name": "resnet20", "classes": 10, "resolution": 32}}
LAYER = {"layer1.0.conv1": {"operator": "spconv", "alpha": "1/4", "groups": 2}}


def test_defaults_are_written_out(tmp_path: Path) -> None:
    """What a YAML leaves to the operator is in the architecture, and follows the target's channels, not a proxy's."""
    file = tmp_path / "a.yaml"
    layers = {"layer1.0.conv1": {"operator": "spconv"}, "layer3.1.conv1": {"operator": "compconv", "c0": 32}}
    file.write_text(yaml.safe_dump({**GOOD, "layers": layers}))
    architecture = load_architecture(file)
    assert dict(architecture.layers) == {
        "layer1.0.conv1": Choice.of("spconv", alpha=1 / 2, groups=2),
        "layer3.1.conv1": Choice.of("compconv", depth=2),
    }
    assert proxy_of(architecture, width=1, resolution=32, classes=10)[1] == ()


OPTIONS = {
    "layer1.0.conv1": {"operator": "spconv", "alpha": 0.25, "heavy": "gwc-pwc", "fusion": "sum"},
    "layer1.0.conv2": {"operator": "compconv", "depth": 2, "identity": "conv", "shuffle": False, "even": True},
    "layer1.1.conv1": {"operator": "ghost", "ratio": 4, "binary": True},
    "layer1.1.conv2": {"operator": "vanilla", "binary": True},
    "layer1.2.conv1": {"operator": "octconv", "alpha": "1/4", "alpha_in": 0},
    "layer1.2.conv2": {"operator": "compconv", "depth": 0, "binary": True},
}


def test_words_and_switches_survive_yaml(tmp_path: Path) -> None:
    """Written where they differ from the default, in words that say which network it is."""
    file, again = tmp_path / "a.yaml", tmp_path / "b.yaml"
    file.write_text(yaml.safe_dump({**GOOD, "layers": OPTIONS}))
    architecture = load_architecture(file)
    again.write_text(yaml.safe_dump(architecture.to_dict()))
    assert load_architecture(again) == architecture
    layers = dict(architecture.layers)
    assert layers["layer1.0.conv1"].to_dict() == {**OPTIONS["layer1.0.conv1"], "groups": 2}
    assert layers["layer1.0.conv2"].to_dict() == OPTIONS["layer1.0.conv2"]
    assert layers["layer1.1.conv1"] == Choice.of("ghost", ratio=4, cheap_kernel=3, binary=True)
    assert layers["layer1.2.conv1"] == Choice.of("octconv", alpha=0.25, alpha_in=0)
    assert layers["layer1.2.conv2"] == layers["layer1.1.conv2"] == Choice.of("vanilla", binary=True)
    assert str(layers["layer1.1.conv1"]) == "ghost(binary=True, cheap_kernel=3, ratio=4)"
    with torch.device("meta"):
        assert architecture.build()(torch.empty(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"operator": "spconv", "heavy": "vanilla", "groups": 4}, {"operator": "spconv", "heavy": "vanilla"}),
        ({"operator": "spconv", "alpha": 1, "fusion": "sum", "redundant": False}, {"operator": "spconv", "alpha": 1}),
        ({"operator": "spconv", "redundant": False, "fusion": "sum"}, {"operator": "spconv", "redundant": False}),
        ({"operator": "compconv", "depth": 1, "identity": "conv"}, {"operator": "compconv", "depth": 1}),
        ({"operator": "ghost", "ratio": 1, "cheap_kernel": 5}, {"operator": "ghost", "ratio": 1}),
    ],
)
def test_settings_without_a_meaning_are_the_same_network(one: dict, other: dict) -> None:
    slot = backbone_slots(Backbone("resnet20", 10, 32))["layer1.0.conv1"]
    first, second = (Choice.from_dict(said) for said in (one, other))
    assert first.resolved(slot) == second.resolved(slot)
    shapes = [[p.shape for p in choice.build(slot).parameters()] for choice in (first, second)]
    assert shapes[0] == shapes[1]


def test_what_is_the_default_is_the_same_architecture(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    keys = set()
    for said in ({}, {"fusion": "attention"}, {"redundant": True, "binary": False}, {"heavy": "gwc+pwc", "groups": 2}):
        file.write_text(yaml.safe_dump({**GOOD, "layers": {"layer1.0.conv1": {"operator": "spconv", **said}}}))
        keys.add(load_architecture(file).key)
    for said in ({"fusion": "sum"}, {"redundant": False}, {"binary": True}, {"heavy": "vanilla"}):
        file.write_text(yaml.safe_dump({**GOOD, "layers": {"layer1.0.conv1": {"operator": "spconv", **said}}}))
        keys.add(load_architecture(file).key)
    assert len(keys) == 5


def test_lists_of_words_and_switches_are_a_grid(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    entry = {"operator": "compconv", "depth": 2, "identity": ["fixed", "group", "random"], "binary": [False, True]}
    file.write_text(yaml.safe_dump({**GOOD, "choices": [{"operator": "vanilla"}, entry]}))
    space = load_space(str(file))
    assert {len(v.options) for v in space.variables} == {7}
    chosen = {c for v in space.variables for o in v.options for c in o.choices}
    assert Choice.of("compconv", depth=2, identity="random", binary=True) in chosen
    assert Choice.of("compconv", depth=2) in chosen


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_can_be_searched_with_its_defaults(operator: str, tmp_path: Path) -> None:
    """In ResNet-20's last stage, where all of them fit."""
    file = tmp_path / "mine.yaml"
    choices = [{"operator": "vanilla"}, {"operator": operator}, {"operator": operator, "binary": True}]
    file.write_text(yaml.safe_dump({**GOOD, "exclude": ["conv1", "layer[12].*"], "choices": choices}))
    space = load_space(str(file))
    assert {v.options[-1].asked for v in space.variables} == {Choice.of(operator, binary=True)}
    assert len(space.variables) == 6
    target = space.architecture([len(v.options) - 1 for v in space.variables])
    proxy, _ = proxy_of(target, width=0.25, resolution=16, classes=10)
    with torch.device("meta"):
        assert proxy.build()(torch.empty(2, 3, 16, 16)).shape == (2, 10)


def test_an_architecture_knows_its_indices() -> None:
    space = loaded("compconv_c0")
    assert space.indices(space.architecture([1, 0, 2, 2])) == (1, 0, 2, 2)
    assert space.indices(loaded("mixed_layerwise").uniform(Choice.of("spconv", alpha=1 / 2, groups=2))) is None


def test_a_narrow_target_has_a_narrower_proxy() -> None:
    backbone = Backbone("resnet20", 10, 32, width=0.5)
    assert proxy_of(Architecture(backbone), width=0.5, resolution=24, classes=10)[0].backbone.width == 0.25


def test_build_returns_the_network(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump({**GOOD, "layers": LAYER}))
    assert type(build(file).layer1[0].conv1).__name__ == "SPConv2d"


WRONG_VALUES = [
    ("spconv", {"binary": 3}, "binary must be true or false, got 3"),
    ("vanilla", {"binary": "yes"}, "binary must be true or false, got 'yes'"),
    ("spconv", {"fusion": "maximum"}, "unknown fusion 'maximum': known: attention, sum"),
    ("spconv", {"fusion": "atention"}, "unknown fusion 'atention': did you mean 'attention'"),
    (
        "spconv",
        {"heavy": "gwc pwc"},
        r"unknown heavy 'gwc pwc': did you mean 'gwc.pwc'\? known: gwc\+pwc, gwc-pwc, vanilla",
    ),
    ("spconv", {"redundant": "no"}, "redundant must be true or false, got 'no'"),
    ("compconv", {"shuffle": 1}, "shuffle must be true or false, got 1"),
    ("compconv", {"even": None}, "even must be true or false, got None"),
    ("compconv", {"identity": 4}, "unknown identity '4': known: conv, fixed, group, random"),
    ("vanilla", {"binari": True}, "unknown hyper-parameter of vanilla 'binari': did you mean 'binary'"),
    ("ghost", {"ratio": True}, "ratio must be a number"),
    ("ghost", {"ratio": "3/2"}, "Ghost: ratio must be an integer .* got 1.5"),
    ("octconv", {"alpha_in": "half"}, "alpha_in must be a number or a fraction"),
    ("hetconv", {"p": 3}, "slot 'layer1.0.conv1': HetConv: p must divide the channels, got p=3 for 16 and 16"),
]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({**GOOD, "layers": LAYER, "lairs": 1}, "unknown section of an architecture 'lairs': did you mean 'layers'"),
        (GOOD, "needs the sections"),
        (
            {**GOOD, "layers": {"layer1.0.conv9": {"operator": "vanilla"}}},
            "unknown slot 'layer1.0.conv9': did you mean",
        ),
        ({**GOOD, "layers": {"layer1.0.conv1": {"operator": "spkonv"}}}, "did you mean 'spconv'"),
        ({**GOOD, "layers": {"layer1.0.conv1": {"operator": "spconv", "beta": 1}}}, "hyper-parameter of spconv 'beta'"),
        (
            {**GOOD, "layers": {"layer1.0.conv1": {"operator": "spconv", "alpha": "half"}}},
            "must be a number or a fraction",
        ),
        (
            {**GOOD, "layers": {"layer1.0.conv1": {"operator": "spconv", "alpha": 0.25, "groups": 8}}},
            r"slot 'layer1.0.conv1': SPConv: groups must divide .* got groups=8 for 4",
        ),
        *(
            ({**GOOD, "layers": {"layer1.0.conv1": {"operator": operator, **values}}}, says)
            for operator, values, says in WRONG_VALUES
        ),
        ({"backbone": {"name": "resnet20", "classes": 10}, "layers": {}}, "needs name, classes and resolution"),
        ({"backbone": {**GOOD["backbone"], "depth": 3}, "layers": {}}, "unknown key in backbone 'depth'"),
    ],
)
def test_a_wrong_architecture_says_what_is_wrong(document: dict, says: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(ValueError, match=says):
        load_architecture(file)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"choises": []}, "unknown key 'choises': did you mean 'choices'"),
        ({"per": "block"}, "unknown value of 'per' 'block'"),
        ({"choices": None}, "'choices' must be a list"),
        ({"exclude": "conv1"}, "'exclude' must be a list"),
        ({"exclude": [1]}, "'exclude' must be a list"),
        ({"exclude": ["conv1", "layer9.*"]}, r"'exclude': 'layer9.\*' matches no slot of resnet20"),
        (
            {"choices": [{"operator": "spconv", "groups": []}]},
            "groups of spconv must have a value or more, got an empty",
        ),
        ({"choices": [{"operator": "spconv", "kernel_size": []}]}, "kernel_size of spconv must have a value or more"),
        ({"backbone": {**GOOD["backbone"], "width": float("inf")}}, "must be numbers above 0, got .*inf"),
        ({"backbone": {**GOOD["backbone"], "width": float("nan")}}, "must be numbers above 0, got .*nan"),
        ({"choices": [{"operator": "spconv", "alpha": [float("inf")]}]}, "alpha must be a number"),
        ({"backbone": {**GOOD["backbone"], "classes": True}}, "classes must be a number"),
        ({"choices": [{"operator": "spconv", "alpha": [2]}]}, r"alpha = 2 fits no slot .* must be in \(0, 1\]"),
        ({"choices": [{"operator": "compconv", "depth": [9]}]}, "depth = 9 fits no slot"),
        ({"choices": [{"operator": "vanilla"}]}, "nothing to search"),
        ({"choices": [{"operator": "vanilla", "binary": [True, 3]}]}, "binary must be true or false, got 3"),
        ({"choices": [{"operator": "spconv", "fusion": ["sum", "maximum"]}]}, "unknown fusion 'maximum': known: atten"),
        ({"choices": [{"operator": "compconv", "shuffle": [1]}]}, "shuffle must be true or false, got 1"),
        ({"choices": [{"operator": "grouped", "groups": [2, 7]}]}, "groups = 7 fits no slot .* must divide"),
        ({"choices": [{"operator": "spconv", "kernel_size": 11}]}, "no slot has a kernel of"),
    ],
)
def test_a_wrong_space_says_what_is_wrong(changes: dict, says: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**GOOD, "choices": [], **changes}))
    with pytest.raises(ValueError, match=says):
        load_space(str(file))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("choices: []\nbackbone: {name: resnet20, name: resnet50}", "is no YAML: the key 'name' comes twice .*line 2"),
        ("choices:\n - {operator: spconv}\nchoices: []", "is no YAML: the key 'choices' comes twice .*line 3"),
        ("[" * 5000, "is nested too deep"),
        ("choices: [", "is no YAML"),
        ("\x00", "is no YAML"),
        ("", "must be a mapping with the keys"),
        ("- 1", "must be a mapping with the keys"),
        ("&a [*a]", "must be a mapping with the keys"),
    ],
)
def test_a_file_that_is_no_space_is_said_in_one_line(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(BadInput, match=says) as error:
        load_space(str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "backbone: {}\nlayers: {a: {operator: ghost}, a: {operator: ghost}}",
            "the key 'a' comes twice",
        ),
        ("{" * 5000, "is nested too deep"),
        ("layers: [", "is no YAML"),
    ],
)
def test_an_architecture_that_is_none_is_said_in_one_line(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(BadInput, match=says) as error:
        load_architecture(file)
    assert "\n" not in str(error.value)


def test_a_suffix_may_be_in_capitals(tmp_path: Path) -> None:
    file = tmp_path / "MINE.YAML"
    file.write_text(yaml.safe_dump({**GOOD, "choices": [{"operator": "vanilla"}, {"operator": "ghost", "ratio": 2}]}))
    assert load_space(str(file)).name == "MINE"


def test_a_space_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    choices = [{"operator": "vanilla"}, {"operator": "spconv", "alpha": ["1/2"], "groups": [1, 2]}]
    file.write_text(yaml.safe_dump({**GOOD, "exclude": ["conv1", "layer1.*"], "choices": choices}))
    space = load_space(str(file))
    assert space.name == "mine"
    assert len(space.variables) == 12
    assert space.size == 3**12


def test_an_unknown_space_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'spconv_layerwise'"):
        load_space("spconv_layerwize")


def test_uniform_settings_are_the_papers() -> None:
    space = loaded("mixed_layerwise")
    layers = dict(space.uniform(Choice.of("spconv", alpha=1 / 2, groups=2)).layers)
    assert {c for s, c in layers.items() if s.endswith("conv2")} == {Choice.of("spconv", alpha=1 / 2, groups=2)}
    assert {c for s, c in layers.items() if not s.endswith("conv2")} == {VANILLA}
