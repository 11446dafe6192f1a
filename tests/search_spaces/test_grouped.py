"""Grouped convolutions: torch's own with ``groups``, and ShuffleNet's shuffle behind it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from search_spaces.operators import OPERATORS
from search_spaces.operators.shuffle import shuffle, shuffled_order


@pytest.mark.parametrize("name", ["grouped", "grouped_shuffle"])
@pytest.mark.parametrize("groups", [1, 2, 4, 8])
@pytest.mark.parametrize("kernel", [1, 3])
def test_parameters_are_a_gth_of_vanilla(name: str, groups: int, kernel: int) -> None:
    operator = OPERATORS[name](16, 24, kernel, groups=groups)
    assert sum(p.numel() for p in operator.parameters()) == kernel**2 * 16 * 24 // groups


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("stride", [1, 2])
def test_shuffled_is_grouped_and_channelshuffle(groups: int, stride: int) -> None:
    operator = OPERATORS["grouped_shuffle"](12, 18, stride=stride, groups=groups)
    images = torch.randn(2, 12, 7, 6)
    grouped = F.conv2d(images, operator.conv.weight, stride=stride, padding=1, groups=groups)
    assert torch.equal(operator(images), nn.ChannelShuffle(groups)(grouped))


@pytest.mark.parametrize("groups", [2, 3, 4])
@pytest.mark.parametrize("channels", [12, 24, 48])
def test_shuffle_is_that_of_shufflenet(groups: int, channels: int) -> None:
    images = torch.randn(2, channels, 3, 4)
    expected = nn.ChannelShuffle(groups)(images)
    assert torch.equal(shuffle(images, groups), expected)
    assert torch.equal(images[:, shuffled_order(channels, groups)], expected)
    rows = shuffle(images.contiguous(memory_format=torch.channels_last), groups)
    assert torch.equal(rows, expected)
    assert rows.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("channels", "groups"), [(30, 4), (7, 3), (2, 4)])
def test_shuffle_of_other_channel_counts_is_a_permutation(channels: int, groups: int) -> None:
    """That of so many channels as the groups divide, without those that are missing."""
    assert sorted(shuffled_order(channels, groups).tolist()) == list(range(channels))
    padded = torch.arange(-(-channels // groups) * groups).view(1, -1, 1, 1)
    order = nn.ChannelShuffle(groups)(padded).flatten().tolist()
    images = torch.randn(1, channels, 2, 2)
    assert torch.equal(shuffle(images, groups), images[:, [c for c in order if c < channels]])


@pytest.mark.parametrize("name", ["grouped", "grouped_shuffle"])
@pytest.mark.parametrize(
    ("groups", "says"),
    [
        (3, "groups must divide the channels, got groups=3 for "),
        (0, "groups must be an integer of at least 1, got 0"),
        (1.5, "groups must be an integer of at least 1, got 1.5"),
    ],
)
def test_what_is_impossible_says_the_rule(name: str, groups: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        OPERATORS[name](16, 24, groups=groups)
