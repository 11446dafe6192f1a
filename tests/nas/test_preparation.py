"""How many trials, and how long, on machines of any speed."""

from types import SimpleNamespace

import pytest
import torch

from nas import preparation
from nas.preparation import LEAST_TRIALS, LONGEST_S, MOST_TRIALS, measured, trial_s
from nas.question import asked
from trainers.loop import is_fast

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
        assert found.recipe.steps_per_epoch >= 1


def test_what_was_asked_for_is_not_measured() -> None:
    question = asked({"trials": 3, "epochs": 2})
    assert measured(question, None, None, lambda text: pytest.fail(text)) is question
