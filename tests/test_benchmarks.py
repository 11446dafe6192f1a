"""The figures that benchmarks print, against what is put in."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from fidelity import agreement
from proxy_signal import summary


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
