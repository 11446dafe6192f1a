"""The noise of scores, and what the final stage says: figures against what is computed by hand or drawn at random."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from nas.budget import parse_budget
from nas.legs import nothing_learned
from nas.noise import noise_of
from nas.record import Record
from nas.result.measured import Measured
from nas.result.verdict import Verdict, verdict_of
from trainers.report import Status


def record(name: str, key: str, seed: int, accuracy: float | None, flops: float = 1e9) -> Record:
    status = Status.FAILED if accuracy is None else Status.FINISHED
    return Record(
        name=name,
        key=key,
        seed=seed,
        accuracy=accuracy,
        test_accuracy=accuracy,
        status=status,
        architecture={},
        costs={"flops": flops},
    )


def test_noise_is_pooled_over_architectures() -> None:
    """Two seeds: half the squared difference each; three: their variance."""
    records = [record("a", "a", 0, 0.80), record("a", "a", 1, 0.82), *(record("b", "b", s, 0.5) for s in range(3))]
    noise = noise_of(records)
    assert noise.freedom == 3
    assert noise.std == pytest.approx((0.02**2 / 2 / 3) ** 0.5)
    assert noise.error == pytest.approx(noise.std / 6**0.5)


def test_noise_needs_a_second_seed_of_one_architecture() -> None:
    assert noise_of([]) is None
    assert noise_of([record("a", "a", 0, 0.8), record("b", "b", 1, 0.9)]) is None
    assert noise_of([record("a", "a", 0, 0.8), record("a", "a", 1, None)]) is None  # it failed
    assert noise_of([record("a", "a", 0, 0.8), record("b", "a", 0, 0.8)]) is None  # a reference that is a candidate too


def test_noise_is_found_again() -> None:
    rng = random.Random(0)
    records = [record(str(i), str(i), s, rng.gauss(0.8 + i / 1000, 0.01)) for i in range(300) for s in (0, 1)]
    noise = noise_of(records)
    assert abs(noise.std - 0.01) < 4 * noise.error


def verdict(
    found: Sequence[float | None], uniform: Sequence[float], budget: str = "2GFLOPs", flops: float = 1e9
) -> Verdict:
    records = [record(f"0007, seed {s}", "f", s, a, flops) for s, a in enumerate(found)]
    records += [record(f"uniform spconv(alpha=1/8, groups=1), seed {s}", "u", s, a) for s, a in enumerate(uniform)]
    records += [record(f"vanilla, seed {s}", "v", s, 0.99, 4e9) for s in range(3)]
    records += [record(f"papers' SPConv α=1/4 g=2, seed {s}", "p", s, 0.70, 3e9) for s in range(3)]
    made = verdict_of(records, [parse_budget(budget)], Measured({}, {}))
    assert made is not None
    return made


def test_a_clear_difference_is_said_with_its_error() -> None:
    made = verdict([0.91, 0.90, 0.92], [0.89, 0.90, 0.88])
    found, uniform = made.of("f"), made.of("u")
    difference, error = made.difference(found, uniform)
    assert difference == pytest.approx(0.02)
    assert made.std == pytest.approx((4 * 0.01**2 / 8) ** 0.5)  # two of four networks scatter, two degrees each
    assert error == pytest.approx(made.std * (2 / 3) ** 0.5)
    assert made.best is made.found is found
    assert (
        "+2.0 ± 0.6 points over the best uniform setting spconv(alpha=1/8, groups=1) (1.000 GFLOPs)" in made.sentence()
    )
    assert "papers' SPConv α=1/4 g=2 (3.000 GFLOPs)" in made.sentence()
    assert "3 seeds each" in made.sentence()


def test_one_that_the_noise_covers_is_none() -> None:
    made = verdict([0.91, 0.89, 0.90], [0.89, 0.91, 0.895])
    assert "no difference that could be measured from the best uniform setting" in made.sentence()


def test_a_better_uniform_setting_is_the_best_and_the_sentence_says_by_how_much() -> None:
    made = verdict([0.85, 0.86, 0.87], [0.89, 0.90, 0.91])
    assert made.best.key == "u"
    assert made.found.key == "f"
    assert "-4.0 ±" in made.sentence()


def test_the_best_uniform_setting_is_the_one_that_the_final_stage_says() -> None:
    """Of several; one over the budget is none of them."""
    scores = {"uniform a": 0.80, "uniform b": 0.85, "uniform c": 0.82, "0001": 0.9}
    records = [record(f"{name}, seed {s}", name, s, a) for name, a in scores.items() for s in range(2)]
    records += [record(f"uniform big, seed {s}", "big", s, 0.95, flops=3e9) for s in range(2)]
    made = verdict_of(records, [parse_budget("2GFLOPs")], Measured({}, {}))
    assert made.uniform.name == "uniform b"
    assert "the best uniform setting b" in made.sentence()
    assert not any(name in made.sentence() for name in ("setting a", "setting c", "big"))


def test_what_is_over_the_budget_wins_nothing() -> None:
    made = verdict([0.95, 0.96, 0.97], [0.89, 0.90, 0.91], flops=2.1e9)
    assert made.best.key == "u"
    assert made.found is None
    assert made.sentence() == ""
    assert made.standings[0].name == "vanilla"


def test_vanilla_is_the_best_where_a_budget_allows_it() -> None:
    assert verdict([0.91, 0.90, 0.92], [0.89, 0.90, 0.88], budget="5GFLOPs").best.name == "vanilla"


def test_trainings_stand_in_the_order_of_their_seeds() -> None:
    """However they ended: a figure and a document must not depend on it."""
    records = [record(f"0007, seed {s}", "f", s, 0.9 + s / 100) for s in (1, 2, 0)]
    assert [r.seed for r in verdict_of(records, [], Measured({}, {})).standings[0].trainings] == [0, 1, 2]


def test_one_seed_has_no_error() -> None:
    records = [record("0001, seed 0", "f", 0, 0.9), record("uniform ghost, seed 0", "u", 0, 0.8)]
    made = verdict_of(records, [], Measured({}, {}))
    assert (made.std, made.freedom) == (0.0, 0)
    assert "+10.0 points over" in made.sentence()
    assert "±" not in made.sentence()


def test_who_failed_under_a_seed_wins_nothing() -> None:
    """The seeds that are left may be the lucky ones; it is said, of who failed under all of them too."""
    made = verdict([0.95, None, None], [0.89, 0.90, 0.91])
    assert made.best.key == "u"
    assert made.found is None
    records = [record(f"0008, seed {s}", "g", s, 0.88) for s in range(3)]
    records += [record(f"0007, seed {s}", "f", s, a) for s, a in enumerate([0.95, 0.95, None])]
    records += [record(f"unseen 12, seed {s}", "n", s, None) for s in range(3)]
    made = verdict_of(records, [], Measured({}, {}))
    assert made.best.name == made.found.name == "0008"
    assert made.sentence().endswith(
        "3 seeds each; 0007 failed under 1 of its seeds; unseen 12 failed under 3 of its seeds"
    )


def test_nothing_finished_is_no_verdict() -> None:
    assert verdict_of([], [], Measured({}, {})) is None
    assert verdict_of([replace(record("0001, seed 0", "f", 0, None))], [], Measured({}, {})) is None


@pytest.mark.parametrize("name", ["vanilla", "vanilla, seed 2"])
@pytest.mark.parametrize(("accuracy", "is_said"), [(0.1, True), (0.19, True), (0.21, False), (None, False)])
def test_a_vanilla_network_that_learned_nothing_is_said(name: str, accuracy: float | None, is_said: bool) -> None:
    """Of ten classes; in the trials and in the final stage."""
    said = nothing_learned(record(name, "v", 0, accuracy), 10)
    assert (said is not None) == is_said
    assert said is None or f"has {accuracy:.1%} after a trial, where guessing has 10.0%" in said
    assert nothing_learned(record("0001", "v", 0, accuracy), 10) is None
