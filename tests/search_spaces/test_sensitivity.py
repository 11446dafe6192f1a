"""What each choice alone does to a trained network."""

import copy

import pytest
import torch
from torch import nn

from search_spaces import VANILLA, Space, load_space, proxy_of
from search_spaces.operators.inheriting import outside_blocks
from search_spaces.sensitivity import sensitivity
from search_spaces.space import parse_space

RESNET20 = {"name": "resnet20", "classes": 10, "resolution": 16}


def trained(space: Space, width: float = 1.0) -> nn.Module:
    """A network with statistics of its own; that it was trained does not matter here."""
    torch.manual_seed(3)
    model = proxy_of(space.uniform(VANILLA), width=width, resolution=16, classes=10)[0].build()
    with torch.no_grad():
        model(images(5))
    return model


def images(seed: int, count: int = 48) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def few(document: dict, slots: int = 3) -> Space:
    whole = parse_space("few", document, "a test")
    return Space("few", whole.backbone, whole.variables[-slots:])


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_every_choice_has_a_finite_one_and_vanilla_none(width: float) -> None:
    whole = load_space("mixed_resnet20")
    space = Space("few", whole.backbone, whole.variables[-2:])
    found = sensitivity(space, trained(space, width), images(0))
    assert [len(row) for row in found] == [len(v.options) for v in space.variables]
    for row, variable in zip(found, space.variables, strict=True):
        for moved, option in zip(row, variable.options, strict=True):
            assert moved == 0 if option.asked == VANILLA else 0 <= moved < 100
        assert max(row) > 0


def test_it_is_deterministic_and_leaves_the_network_and_the_randomness_alone() -> None:
    space = few({"backbone": RESNET20, "choices": [{"operator": "spconv", "alpha": ["1/4", 1], "groups": [1, 4]}]})
    model = trained(space)
    before, mode = copy.deepcopy(model.state_dict()), model.training
    torch.manual_seed(7)
    first = sensitivity(space, model, images(0))
    drawn = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(3), drawn)
    assert sensitivity(space, model, images(0)) == first
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training == mode
    assert not any(m._forward_hooks for m in model.modules())


def test_what_a_choice_can_express_moves_nothing() -> None:
    """A kernel within two groups: one and two groups give it exactly, four don't."""
    document = {"backbone": RESNET20, "choices": [{"operator": "grouped", "groups": [1, 2, 4]}]}
    space = few(document, slots=1)
    model = trained(space)
    conv = model.get_submodule(space.variables[0].name)
    assert isinstance(conv, nn.Conv2d)
    with torch.no_grad():
        conv.weight -= outside_blocks(conv.weight, 2)
    moved = {
        dict(option.choices[0].params).get("groups", 1): value
        for option, value in zip(space.variables[0].options, sensitivity(space, model, images(0))[0], strict=True)
    }
    assert moved[1] == pytest.approx(0, abs=1e-6)
    assert moved[2] == pytest.approx(0, abs=1e-6)
    assert moved[4] > 1e-5


def test_a_stage_is_replaced_as_a_whole() -> None:
    choices = [{"operator": "vanilla"}, {"operator": "spconv", "alpha": ["1/8"], "groups": [4]}]
    apart = parse_space("slots", {"backbone": RESNET20, "exclude": ["conv1"], "choices": choices}, "a test")
    whole = parse_space("stage", {"backbone": RESNET20, "exclude": ["conv1"], "per": "stage", "choices": choices}, "x")
    model = trained(apart)
    one = {v.name: row[-1] for v, row in zip(apart.variables, sensitivity(apart, model, images(0)), strict=True)}
    stage = whole.variables[-1]
    together = sensitivity(whole, model, images(0))[-1][-1]
    assert len(stage.slots) > 1
    assert together > max(one[slot] for slot in stage.slots)
