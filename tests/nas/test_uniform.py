"""What finalists stand beside: every uniform setting that may be the best one at its cost."""

import math

import pytest

from nas.budget import parse_budget
from nas.uniform import to_beat

GFLOPS = {"vanilla": 4.0, "α=1/2": 2.9, "α=1/4": 2.0, "uniform a": 1.99, "uniform b": 1.95, "uniform c": 1.5}
COSTS = {name: {"flops": flops * 1e9} for name, flops in GFLOPS.items()}
BUDGETS = [parse_budget("2GFLOPs")]


def test_those_that_use_the_budget_as_well_as_any_and_the_one_that_is_worth_most() -> None:
    always = {"vanilla": "vanilla", "α=1/4": "papers' α=1/4", "uniform a": "uniform a", "uniform b": "uniform b"}
    assert to_beat(COSTS, BUDGETS) == always
    worth = {name: (0.9 if name == "uniform c" else 0.8, math.inf) for name in COSTS}
    assert to_beat(COSTS, BUDGETS, worth.__getitem__) == {**always, "uniform c": "uniform c"}
    assert "vanilla" in to_beat(COSTS, [parse_budget("5GFLOPs")])


@pytest.mark.parametrize(("behind", "is_there"), [(0.04, True), (0.05, False)])
def test_one_that_is_worse_for_certain_is_not_trained_again(behind: float, is_there: bool) -> None:
    """By more than three standard errors of the difference: 3 × √2 × 0.01 = 0.042."""
    worth = {name: (0.8 - behind * (name == "uniform b"), 0.01) for name in COSTS}
    assert ("uniform b" in to_beat(COSTS, BUDGETS, worth.__getitem__)) == is_there


def test_over_every_budget_the_papers_nearest_stays() -> None:
    assert to_beat(COSTS, [parse_budget("1GFLOPs")]) == {"vanilla": "vanilla", "α=1/4": "papers' α=1/4"}
    assert to_beat({}, BUDGETS) == {}
