"""A small space and its costs, for all that needs a run but no training."""

import pytest

from nas.cost.table import CostTable, build_table
from nas.form import parse_form
from search_spaces import Space, load_space


@pytest.fixture(scope="module")
def space() -> Space:
    """Six slots of ResNet-20: a billion architectures."""
    whole = load_space("mixed_resnet20")
    return Space("six", whole.backbone, whole.variables[:6])


@pytest.fixture(scope="module")
def table(space: Space) -> CostTable:
    return build_table(space, parse_form("cpu"))
