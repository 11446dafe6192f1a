"""Every space, and the errors of a space's or an architecture's YAML."""

from pathlib import Path

import pytest
import torch
import yaml

from search_spaces import VANILLA, Architecture, Backbone, Choice, build, list_spaces, load_architecture, load_space
from search_spaces.architecture import proxy_of

SPACES = list_spaces()


def middle(space) -> Architecture:
    """Some architecture with many different options."""
    return space.architecture([i % len(v.options) for i, v in enumerate(space.variables)])


@pytest.mark.parametrize("name", SPACES)
def test_every_space_builds_and_options_differ(name: str) -> None:
    space = load_space(name)
    assert all(len({o.choices for o in v.options}) == len(v.options) > 1 for v in space.variables)
    assert list(space.slots) == [s for s, _ in middle(space).layers]
    with torch.device("meta"):
        network = middle(space).build().eval()
        size = space.backbone.resolution
        assert network(torch.empty(1, 3, size, size)).shape == (1, space.backbone.classes)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("width", [1 / 16, 1 / 4])
def test_every_choice_has_a_stand_in_in_a_narrow_proxy(name: str, width: float) -> None:
    space = load_space(name)
    for shift in (0, 7, 13):
        target = space.architecture([(i + shift) % len(v.options) for i, v in enumerate(space.variables)])
        proxy, changed = proxy_of(target, width=width, resolution=24, classes=10)
        assert [n for n, _ in proxy.layers] == [n for n, _ in target.layers]
        assert {n for n, c in target.layers if c != dict(proxy.layers)[n]} == set(changed)
        with torch.device("meta"):
            proxy.build()


@pytest.mark.parametrize("name", SPACES)
def test_at_full_width_nothing_is_substituted(name: str) -> None:
    space = load_space(name)
    longest = max(len(v.options) for v in space.variables)
    for step in range(longest):
        target = space.architecture([min(step, len(v.options) - 1) for v in space.variables])
        assert proxy_of(target, width=1, resolution=32, classes=10)[1] == ()


def test_spconv_layerwise_is_every_3x3_of_resnet50() -> None:
    space = load_space("spconv_layerwise")
    assert [v.name for v in space.variables] == [
        f"layer{stage + 1}.{block}.conv2" for stage, blocks in enumerate((3, 4, 6, 3)) for block in range(blocks)
    ]
    options = [o.asked for o in space.variables[0].options]
    assert VANILLA in options
    assert Choice.of("spconv", alpha=1 / 16, groups=4) in options
    assert Choice.of("spconv", alpha=1 / 16, groups=8) not in options  # 4 channels have no 8 groups


def test_compconv_c0_decides_by_stage_and_depths_follow_eq_6() -> None:
    space = load_space("compconv_c0")
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
    architecture = middle(load_space(name))
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


def test_an_architecture_knows_its_indices() -> None:
    space = load_space("compconv_c0")
    assert space.indices(space.architecture([1, 0, 2, 2])) == (1, 0, 2, 2)
    assert space.indices(load_space("mixed_layerwise").uniform(Choice.of("spconv", alpha=1 / 2, groups=2))) is None


def test_a_narrow_target_has_a_narrower_proxy() -> None:
    backbone = Backbone("resnet20", 10, 32, width=0.5)
    assert proxy_of(Architecture(backbone), width=0.5, resolution=24, classes=10)[0].backbone.width == 0.25


def test_build_returns_the_network(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump({**GOOD, "layers": LAYER}))
    assert type(build(file).layer1[0].conv1).__name__ == "SPConv2d"


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
        ({"choices": [{"operator": "spconv", "alpha": [float("inf")]}]}, "alpha must be a number"),
        ({"backbone": {**GOOD["backbone"], "classes": True}}, "classes must be a number"),
        ({"choices": [{"operator": "spconv", "alpha": [2]}]}, r"alpha = 2 fits no slot .* must be in \(0, 1\]"),
        ({"choices": [{"operator": "compconv", "depth": [9]}]}, "depth = 9 fits no slot"),
        ({"choices": [{"operator": "vanilla"}]}, "nothing to search"),
        ({"choices": [{"operator": "spconv", "kernel_size": 11}]}, "no slot has a kernel of"),
    ],
)
def test_a_wrong_space_says_what_is_wrong(changes: dict, says: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**GOOD, "choices": [], **changes}))
    with pytest.raises(ValueError, match=says):
        load_space(str(file))


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
    space = load_space("mixed_layerwise")
    layers = dict(space.uniform(Choice.of("spconv", alpha=1 / 2, groups=2)).layers)
    assert {c for s, c in layers.items() if s.endswith("conv2")} == {Choice.of("spconv", alpha=1 / 2, groups=2)}
    assert {c for s, c in layers.items() if not s.endswith("conv2")} == {VANILLA}
