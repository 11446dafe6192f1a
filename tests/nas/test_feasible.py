"""Draws under a budget: inside it always, exact in distribution, however tight, however many budgets."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nas.feasible
from nas.feasible import ExhaustedError, Feasible
from nas.knapsack import Limit


def small(seed: int, variables: int = 5, options: int = 4, metrics: int = 1) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [[rng.integers(1, 100, options).astype(float) for _ in range(variables)] for _ in range(metrics)]


def everything(limits: list[Limit]) -> list[tuple[int, ...]]:
    """All architectures within all budgets, by brute force."""
    sizes = [len(c) for c in limits[0].costs]
    rows = itertools.product(*(range(n) for n in sizes))
    return [r for r in rows if all(sum(c[o] for c, o in zip(lim.costs, r, strict=True)) <= lim.limit for lim in limits)]


@given(seed=st.integers(0, 10_000), tightness=st.floats(0, 1), metrics=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_every_draw_keeps_every_budget(seed: int, tightness: float, metrics: int) -> None:
    """From a budget that only the cheapest architecture meets to one that all meet; feasible ones are always found."""
    limits = [Limit(c, 0) for c in small(seed, metrics=metrics)]
    limits = [Limit(lim.costs, lim.least + tightness * (lim.most - lim.least)) for lim in limits]
    within = everything(limits)
    if not within:
        with pytest.raises(ValueError, match="no architecture"):
            Feasible([4] * 5, limits)
        return
    feasible, rng = Feasible([4] * 5, limits), np.random.default_rng(seed)
    taken: set[tuple[int, ...]] = set()
    for _ in range(min(10, len(within))):
        drawn = feasible.draw(feasible.uniform, rng, taken)
        assert drawn in within
        assert drawn not in taken
        taken.add(drawn)


def test_limits_that_are_met_exactly_are_kept() -> None:
    costs = [np.array([0.0, 5.0, 10.0])], [np.array([10.0, 5.0, 0.0])]
    feasible = Feasible([3], [Limit(costs[0], 5), Limit(costs[1], 5)])
    assert feasible.draw(feasible.uniform, np.random.default_rng(0)) == (1,)


def test_when_all_are_taken_there_is_none() -> None:
    limit = Limit(small(3)[0], 0)
    limit = Limit(limit.costs, limit.least + 0.15 * (limit.most - limit.least))
    feasible, rng, taken = Feasible([4] * 5, [limit]), np.random.default_rng(0), set()
    within = set(everything([limit]))
    for _ in within:
        drawn = feasible.draw(feasible.uniform, rng, taken)
        assert drawn is not None
        taken.add(drawn)
    assert taken == within
    with pytest.raises(ExhaustedError, match="every architecture within the budgets has been tried"):
        feasible.draw(feasible.uniform, rng, taken)


def test_the_last_of_very_many_are_found() -> None:
    """More are taken than a list would hold; what is left is at no particular place in it."""
    rows = list(itertools.product(range(30), repeat=3))
    feasible, rng, left = Feasible([30] * 3, []), np.random.default_rng(0), {rows[100], rows[-1], rows[-700]}
    taken = set(rows) - left
    for _ in range(3):
        taken.add(feasible.draw(feasible.uniform, rng, taken))
    assert taken == set(rows)
    with pytest.raises(ExhaustedError, match="every architecture"):
        feasible.draw(feasible.uniform, rng, taken)


def test_a_search_that_was_given_up_is_not_called_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nas.feasible, "NODES", 100)
    rows = set(itertools.product(range(30), repeat=3))
    feasible, rng = Feasible([30] * 3, []), np.random.default_rng(0)
    with pytest.raises(ExhaustedError, match="was found, though there may be some"):
        feasible.draw(feasible.uniform, rng, rows - {(29, 29, 29)})


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_uniform_draws_are_uniform(share: float) -> None:
    """Chi-squared against the brute-force list, at a level that a fair sampler fails once in a million."""
    limit = Limit(small(1)[0], 0)
    limit = Limit(limit.costs, limit.least + share * (limit.most - limit.least))
    within, feasible = everything([limit]), Feasible([4] * 5, [limit])
    rng = np.random.default_rng(0)
    rows = feasible._relaxed_draws(feasible.uniform, 40 * len(within), rng)
    rows = rows[feasible.keeps(rows)]
    counts = dict.fromkeys(within, 0)
    for row in rows.tolist():
        counts[tuple(row)] += 1
    expected = len(rows) / len(within)
    chi2 = sum((n - expected) ** 2 / expected for n in counts.values())
    freedom = len(within) - 1
    assert chi2 < freedom + 5 * (2 * freedom) ** 0.5 + 15


def test_weights_tilt_the_draw() -> None:
    limit = Limit(small(2)[0], 0)
    limit = Limit(limit.costs, (limit.least + limit.most) / 2)
    feasible, rng = Feasible([4] * 5, [limit]), np.random.default_rng(0)
    favourite = everything([limit])[17]
    weights = [np.where(np.arange(4) == o, 1, 1e-4) for o in favourite]
    assert feasible.draw(weights, rng) == favourite
    assert feasible.best([np.log(w) for w in weights]) == favourite


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_is_the_best_of_all(seed: int, share: float) -> None:
    """Against the brute-force list: of one budget, of two, and of one beside a limit on another cost."""
    rng = np.random.default_rng(seed)
    limits = [Limit(c, 0) for c in small(seed, metrics=2)]
    first, second = (Limit(m.costs, m.least + share * (m.most - m.least)) for m in limits)
    worth = [rng.normal(size=4) for _ in range(5)]

    def value(row: tuple[int, ...]) -> float:
        return sum(w[o] for w, o in zip(worth, row, strict=True))

    for limits in [ls for ls in ([first], [first, second]) if everything(ls)]:
        found = Feasible([4] * 5, limits).best(worth)
        assert value(found) == pytest.approx(max(map(value, everything(limits))), abs=1e-9)
    both = everything([first, second])
    found = Feasible([4] * 5, [first]).best(worth, second)
    assert found is None or found in both
    if share >= 0.5:
        values = sorted(map(value, both))
        assert value(found) >= values[int(0.98 * len(values))]


def test_a_further_limit_on_the_same_cost_is_exact() -> None:
    limit = Limit(small(3)[0], 0)
    wide, narrow = (Limit(limit.costs, limit.least + share * (limit.most - limit.least)) for share in (0.8, 0.3))
    weights = [np.random.default_rng(0).random(4) for _ in range(5)]
    assert Feasible([4] * 5, [wide]).best(weights, narrow) == Feasible([4] * 5, [narrow]).best(weights)
    assert Feasible([4] * 5, []).best(weights, narrow) == Feasible([4] * 5, [narrow]).best(weights)
    assert Feasible([4] * 5, []).best(weights) == tuple(int(w.argmax()) for w in weights)


def test_the_size_is_counted() -> None:
    limits = [Limit(c, 0) for c in small(4, variables=6, metrics=2)]
    limits = [Limit(lim.costs, (lim.least + lim.most) / 2) for lim in limits]
    assert Feasible([4] * 6, limits).log10_size() == pytest.approx(np.log10(len(everything(limits))), abs=0.05)


def test_without_a_budget_everything_is_feasible() -> None:
    feasible = Feasible([3, 2], [])
    rng, taken = np.random.default_rng(0), set()
    for _ in range(6):
        taken.add(feasible.draw(feasible.uniform, rng, taken))
    assert taken == set(itertools.product(range(3), range(2)))
