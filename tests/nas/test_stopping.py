"""What a trial will come to, and when the rule ``front`` ends it."""

import random
from dataclasses import replace

import pytest

from nas.curves import LEAST, expected
from nas.record import Record
from nas.stopping import STOPPING
from trainers.report import Report, Status

RULE = STOPPING["front"](0)


def trained(i: int, seed: int = 0, scatter: float = 0.005, flops: float | None = None) -> Record:
    """A training whose curve rises to its end; better ones start better, with a scatter of their own."""
    rng = random.Random(1000 * seed + i)
    end = rng.uniform(0.85, 0.92)
    curve = tuple(end - 0.05 * left + (rng.gauss(0, scatter) if left else 0) for left in (3, 2, 1, 0))
    return Record(
        name=f"{i:04}",
        key=str(i),
        seed=0,
        status=Status.FINISHED,
        accuracy=end,
        initial_accuracy=2 * end - 1 + rng.gauss(0, scatter),
        accuracy_by_epoch=curve,
        loss_by_epoch=(1.0, 0.9, 0.8, 0.7),
        architecture={},
        costs={"flops": 1e9 * rng.uniform(1, 2) if flops is None else flops, "latency_ms": 1.0},
    )


def after(record: Record, epoch: int) -> Report:
    """As it was reported then."""
    return Report(
        initial_accuracy=record.initial_accuracy,
        accuracy=record.accuracy_by_epoch[epoch - 1] if epoch else None,
        accuracy_by_epoch=record.accuracy_by_epoch[:epoch],
        loss_by_epoch=record.loss_by_epoch[:epoch],
    )


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_predictions_err_by_as_much_as_they_say(epoch: int) -> None:
    """Two standard errors hold about 95 of 100, over many runs of few trials."""
    within = []
    for seed in range(100):
        ended = [trained(i, seed) for i in range(12)]
        new = trained(99, seed)
        mean, error = expected(after(new, epoch), ended)
        within.append(abs(mean - new.accuracy) < 2 * error)
    assert 88 <= sum(within) <= 99


def test_nothing_is_predicted_from_too_little() -> None:
    ended = [trained(i) for i in range(LEAST)]
    new = trained(99)
    assert expected(after(new, 1), ended) is not None
    assert expected(after(new, 1), ended[1:]) is None
    assert expected(after(new, 1), [replace(r, status=Status.STOPPED) for r in ended]) is None
    assert expected(Report(), ended) is None  # it has shown nothing
    alike = [replace(r, initial_accuracy=None) for r in ended]  # of a judge that starts from nothing
    assert expected(replace(after(new, 2), initial_accuracy=None), alike) is not None
    assert expected(after(new, 0), alike) is None


def test_who_can_not_reach_the_front_at_its_cost_is_stopped() -> None:
    ended = [trained(i, flops=1e9) for i in range(20)]
    best = max(ended, key=lambda r: r.accuracy)
    worst = min(ended, key=lambda r: r.accuracy)
    costs = {"flops": 1e9, "latency_ms": 1.0}
    reason = RULE(costs, after(worst, 1), ended)
    assert best.name in reason
    assert f"{best.accuracy:.1%}" in reason
    assert RULE(costs, after(worst, 0), ended) is not None
    assert RULE(costs, after(best, 1), ended) is None
    for cheaper in ({**costs, "flops": 0.9e9}, {**costs, "latency_ms": 0.9}):
        assert RULE(cheaper, after(worst, 1), ended) is None  # nothing that costs as little is known
    assert RULE(costs, after(worst, 1), ended[: LEAST - 1]) is None
