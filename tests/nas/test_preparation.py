"""How many trials, and how long, on machines of any speed."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nas import preparation, weights
from nas.cost.table import CostTable
from nas.preparation import LEAST_TRIALS, LONGEST_S, MOST_TRIALS, Prepared, measured, trial_s
from nas.question import asked
from search_spaces import Space, load_space
from trainers.data.base import ImageData, Split
from trainers.loop import is_fast
from trainers.recipe import INHERITED, SCRATCH

DATA = SimpleNamespace(validation=range(8192), test=range(8192))


@pytest.mark.parametrize("seconds", [1e-6, 1e-4, 1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("judge", ["scratch", "inherited"])
def test_a_training_by_sgd_is_as_long_on_a_slow_machine(
    judge: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut short, it would still be on its first plateau, and its scores would say nothing; others may be."""
    monkeypatch.setattr(preparation, "seconds_per_image", lambda *_: seconds)
    question = asked({"judge": judge})
    found = measured(question, None, DATA, lambda text: None)
    assert LEAST_TRIALS <= found.trials <= MOST_TRIALS
    if judge == "scratch":
        assert found.recipe == question.recipe
    else:
        is_slow = trial_s(seconds, question.recipe, DATA) > LONGEST_S[is_fast(torch.device("cpu"))]
        assert (found.recipe.images_per_epoch < question.recipe.images_per_epoch) == is_slow
        shortest = replace(question.recipe, images_per_epoch=question.recipe.batch)
        longest = max(LONGEST_S[is_fast(torch.device("cpu"))], trial_s(seconds, shortest, DATA))
        assert trial_s(seconds, found.recipe, DATA) <= longest  # scoring included


@pytest.mark.parametrize(("images", "trained"), [(40, 40), (97, 64), (300, 256), (4000, 512)])
def test_a_small_folder_is_measured_by_the_images_that_it_has(
    images: int, trained: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 108 images a dry run said that a trial takes about 0 s: it divided by those of a large one."""
    clock = iter(range(100))
    monkeypatch.setattr(preparation.time, "perf_counter", lambda: float(next(clock)))
    split = Split(torch.zeros(images, 3, 16, 16, dtype=torch.uint8), torch.arange(images) % 2)
    data = ImageData("few", 2, split, split[:8], split[:8], (0.5,) * 3, (0.2,) * 3, "")
    question = asked({"space": "mixed_resnet20", "proxy_resolution": 16, "judge": "scratch"})
    assert preparation.seconds_per_image(question, load_space("mixed_resnet20"), data) == pytest.approx(1 / trained)


def test_what_each_choice_does_alone_is_measured_of_the_parent(space: Space, table: CostTable, tmp_path: Path) -> None:
    question = asked(
        {"space": "mixed_resnet20", "judge": "inherited", "proxy_resolution": 16, "trials": 1, "device": "cpu"}
    )
    split = Split(torch.randint(0, 256, (80, 3, 16, 16), dtype=torch.uint8), torch.arange(80) % 10)
    data = ImageData("few", 10, split, split, split, (0.5,) * 3, (0.2,) * 3, "")
    few = Space("two", space.backbone, space.variables[:2])
    torch.save(weights.vanilla_proxy(question, few, 10).build().state_dict(), tmp_path / "parent.pt")
    found = preparation.measured_sensitivity(Prepared(question, few, data, table, None), tmp_path / "parent.pt")
    assert [len(row) for row in found] == [len(v.options) for v in few.variables]
    assert all(moved >= 0 for row in found for moved in row)


def test_what_was_asked_for_is_not_measured() -> None:
    question = asked({"trials": 3, "epochs": 2})
    assert measured(question, None, None, lambda text: pytest.fail(text)) is question


def ready(**options: object) -> Prepared:
    return Prepared(asked(options), None, SimpleNamespace(train=range(4096)), None, None)


def test_finals_count_beside_trials_only_by_the_trials_own_recipe() -> None:
    own = replace(SCRATCH, peak_lr=0.03, epochs=7, images_per_epoch=640)
    alike = ready(judge="scratch", recipe=own)
    assert alike.question.finals_are_alike
    assert alike.final_recipe == own
    assert not ready(judge="inherited").question.finals_are_alike


@pytest.mark.parametrize("images", [32, 500, 1536, 3000])
def test_a_final_stage_by_sgd_is_not_shortened_with_the_trials_of_a_slow_machine(images: int) -> None:
    shortened = ready(judge="inherited", recipe=replace(INHERITED, images_per_epoch=images))
    assert shortened.final_recipe.images_per_epoch == max(SCRATCH.images_per_epoch, images)
    assert shortened.final_recipe.epochs == SCRATCH.epochs
    assert ready(judge="inherited", epochs=2).final_recipe.epochs == SCRATCH.epochs // 2  # the user's own wish
