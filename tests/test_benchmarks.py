"""The figures that benchmarks print, against what is put in."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from early_stopping import ORDERS, Pool, searched
from fidelity import agreement
from proxy_signal import summary
from search_quality import needed
from surrogate import Table
from table import BUDGETS, SPACE
from usual import core_seconds, with_rejected
from usual import summary as beside_the_usual_way
from usual_way import training_images

from search_spaces import load_space
from trainers.data.digits_on_photos import load

from .beforehand import measured_beforehand

ROOT = Path(__file__).parent.parent


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


def timed(accuracies: list[float], seconds: float, around: float) -> dict:
    """Trials on two cores, which are busy all the time."""
    trials = [
        {"key": str(i), "accuracy": a, "seconds": seconds, "cpu_s": seconds, "trained": True}
        for i, a in enumerate(accuracies)
    ]
    ended = [100 + (i // 2 + 1) * (seconds + around) for i in range(len(trials))]
    return {"began": 100.0, "ended": ended, "trials": trials}


def test_the_usual_way_is_timed_from_the_first_proposal_to_the_end_of_each_core() -> None:
    ours, usual = timed([0.8, 0.7, 0.6, 0.5], 30, 0), timed([0.81, 0.72, 0.61, 0.52], 80, 10)
    assert core_seconds({"began": 100.0, "ended": [130.0, 150.0, 170.0]}, 2) == 50 + 70
    found = beside_the_usual_way([{"ours": ours, "usual": usual}], 2)
    assert (found["ours"]["trials_an_hour"], found["usual"]["trials_an_hour"]) == (240, 80)
    assert (found["ratio"], found["error"], found["usual"]["around_s"]) == (3, 0, 10)
    assert found["accuracy"]["usual over ours"] == 1.5
    assert found["accuracy"]["error"] == 0.29
    rejected = timed([0.0, 0.0], 5, 5)
    rejected["trials"] = [{**trial, "trained": False} for trial in rejected["trials"]]
    left = with_rejected(rejected, found["usual"], 2, 0.1)
    assert (left["over the budget"], left["trained_an_hour"], left["seconds of one that is rejected"]) == (2, 0, 10)
    assert left["expected_an_hour"] == 40  # nine rejected ones of 10 s and a trial of 90


def test_the_usual_way_trains_on_such_images_as_ours() -> None:
    """Pixel by pixel the same mean and deviation, as far as so many images show them."""
    torch.manual_seed(0)
    random.seed(0)
    data, count = load(None, 16), 1024
    theirs = training_images(data, count, 16)
    images = torch.stack([theirs[i][0] for i in range(count)])
    ours = data.normalise(data.epoch(count, torch.Generator().manual_seed(0)).images)
    assert images.shape == ours.shape
    assert (images.mean((0, 1)) - ours.mean((0, 1))).abs().max() < 0.2
    assert (images.std((0, 1)) - ours.std((0, 1))).abs().max() < 0.2
    assert float(images.std((1, 2, 3)).mean()) == pytest.approx(float(ours.std((1, 2, 3)).mean()), rel=0.05)


@pytest.mark.slow
@pytest.mark.long
def test_our_search_and_the_usual_one(tmp_path: Path) -> None:
    """On a small space: of the main job's the costs alone take a minute."""
    words = ["--short", "--space", "mixed_resnet20", "--budget", "9MFLOPs", "--trials", "2", "--proposals", "2"]
    runs = measured_beforehand(tmp_path, "mixed_resnet20")
    command = [sys.executable, "benchmarks/usual.py", *words, "--runs", str(runs)]
    command += ["--output", str(tmp_path / "usual.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "usual.json").read_text(encoding="utf-8"))["summary"]
    assert found["ours"]["trials"] == found["usual"]["trials"] == 2
    assert found["ratio"] > 0
    assert len(found["accuracy"]["each"]) == 2
    left = found["usual, left to its sampler"]
    assert left["proposals"] == left["over the budget"] == 2  # one random architecture in fifty is within it
