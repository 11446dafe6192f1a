"""The figures that benchmarks print, against what is put in."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from early_stopping import ORDERS, Pool, searched
from fidelity import agreement
from proxy_signal import summary
from search_quality import needed
from surrogate import Table
from table import BUDGETS, SPACE

from search_spaces import load_space


def trainings(table: np.ndarray) -> list[dict]:
    """Of accuracies ``(architectures, seeds)``."""
    return [
        {"name": f"{i:03}", "seed": s, "accuracy": float(a)} for i, row in enumerate(table) for s, a in enumerate(row)
    ]


@pytest.mark.parametrize("seeds", [2, 3])
def test_reliability_is_found_again_and_what_a_seed_gives_to_all_alike_is_no_noise(seeds: int) -> None:
    rng = np.random.default_rng(0)
    table = 0.8 + 0.02 * rng.standard_normal((2000, 1)) + 0.01 * rng.standard_normal((2000, seeds))
    found = summary(trainings(table))
    assert found["std_between_architectures"] == pytest.approx(2.0, rel=0.05)
    assert found["std_between_seeds"] == pytest.approx(1.0, rel=0.05)
    assert found["reliability"] == pytest.approx(0.8, abs=0.02)
    shifted = summary(trainings(table + 0.05 * np.arange(seeds)))
    for figure in ("std_between_architectures", "std_between_seeds", "reliability"):
        assert shifted[figure] == pytest.approx(found[figure])


def test_few_architectures_are_not_more_alike_than_many() -> None:
    """Removing the seeds' effect takes a degree of freedom: without it four architectures had a quarter less noise."""
    rng = np.random.default_rng(0)
    noise = [summary(trainings(0.01 * rng.standard_normal((4, 2))))["std_between_seeds"] ** 2 for _ in range(2000)]
    assert np.mean(noise) == pytest.approx(1.0, rel=0.1)


def test_nothing_is_corrected_for_a_truth_that_has_no_reliability() -> None:
    truth = {"a": 1.0, "b": 2.0, "c": 4.0}
    assert agreement(truth, truth, 0.0)["corrected_for_the_truths_noise"] is None
    assert agreement(truth, truth, 0.64)["corrected_for_the_truths_noise"] == pytest.approx(1.25)


def line(player: str, **figures: list[float]) -> dict:
    about = {"space": "s", "budget": "b", "noise": 0.4, "at_once": 1, "player": player}
    return {
        **about,
        **{f: {str(n): [m, 0.0] for n, m in zip((10, 20, 50), v, strict=True)} for f, v in figures.items()},
    }


def test_trials_that_are_needed_to_what_random_draws_have_at_last() -> None:
    random = line("random", hypervolume=[0.1, 0.2, 0.4], way=[0.0, 0.3, 0.2])
    quick = line("additive", hypervolume=[0.3, 0.4, 0.5], way=[0.5, 0.6, 0.7])
    slow = line("uniform", hypervolume=[0.1, 0.1, 0.1], way=[0.1, 0.1, 0.2])
    lines = [random, quick, slow]
    assert needed(quick, lines) == {"hypervolume": 20, "way": 10}
    assert needed(slow, lines) == {"hypervolume": None, "way": 50}
    assert needed(quick, [quick]) == {}


def test_replayed_searches_are_as_long_as_what_was_trained() -> None:
    """Without a rule all epochs, whatever the order; the rule trains fewer and finishes what it does not stop."""
    known = table_of(np.random.default_rng(0))
    pool = Pool(known, BUDGETS[-1])
    for order in ORDERS:
        whole, stopped = (searched(pool, order, stop, 30, 0) for stop in ("none", "front"))
        assert whole["epochs"] == 1
        assert whole["stopped"] == 0
        assert 0 < whole["hypervolume"] <= 1
        assert stopped["epochs"] <= 1
        assert stopped["hypervolume"] <= whole["hypervolume"] + (order == "additive")
        assert (stopped["epochs"] < 1) == (stopped["stopped"] > 0)


def table_of(rng: np.random.Generator) -> Table:
    """Trainings whose accuracy is additive over the slots."""
    space = load_space(SPACE)
    effects = [rng.normal(0, 0.01, len(v.options)) for v in space.variables]
    trainings = []
    for row in rng.integers(0, [len(v.options) for v in space.variables], (60, len(effects))):
        end = 0.8 + float(sum(e[i] for e, i in zip(effects, row, strict=True)))
        curve = [end - 0.1, end - 0.05, end - 0.01, end]
        name = "-".join(map(str, row))
        trainings.append({"name": name, "seed": 0, "accuracy": end, "initial_accuracy": end - 0.3, "by_epoch": curve})
    return Table({"trainings": trainings, "sensitivity": [[0.0] * len(v.options) for v in space.variables]})
