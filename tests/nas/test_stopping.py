"""What a trial will come to, and when the rule ``front`` ends it."""

import random
from dataclasses import replace

import numpy as np
import pytest

from nas.cost.table import CostTable
from nas.curves import LEAST, expected
from nas.feasible import Feasible
from nas.record import Record
from nas.samplers.problem import Problem, problem
from nas.stopping import STOPPING
from search_spaces import VANILLA, Architecture, Space
from trainers.report import Status


def trained(
    i: int, seed: int = 0, scatter: float = 0.005, flops: float | None = None, architecture: Architecture | None = None
) -> Record:
    """A training whose curve rises to its end; better ones start better, with a scatter of their own.

    That of an ``architecture`` comes to what its convolutions that are vanilla give.
    """
    rng = random.Random(1000 * seed + i)
    end = rng.uniform(0.85, 0.92)
    if architecture is not None:
        end = 0.8 + 0.02 * sum(choice == VANILLA for _, choice in architecture.layers) + rng.gauss(0, 0.002)
    curve = tuple(end - 0.05 * left + (rng.gauss(0, scatter) if left else 0) for left in (3, 2, 1, 0))
    return Record(
        name=f"{i:04}",
        key=str(i) if architecture is None else architecture.key,
        seed=0,
        status=Status.FINISHED,
        accuracy=end,
        initial_accuracy=2 * end - 1 + rng.gauss(0, scatter),
        accuracy_by_epoch=curve,
        loss_by_epoch=(1.0, 0.9, 0.8, 0.7),
        architecture={"layers": {"elsewhere": {}}} if architecture is None else architecture.to_dict(),
        costs={"flops": 1e9 * rng.uniform(1, 2) if flops is None else flops, "latency_ms": 1.0},
    )


def after(record: Record, epoch: int) -> Record:
    """As it was reported then."""
    return replace(
        record,
        status=Status.RUNNING,
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
    assert expected(replace(after(new, 0), initial_accuracy=None), ended) is None  # it has shown nothing
    alike = [replace(r, initial_accuracy=None) for r in ended]  # of a judge that starts from nothing
    assert expected(replace(after(new, 2), initial_accuracy=None), alike) is not None
    assert expected(after(new, 0), alike) is None


@pytest.fixture
def searched(space: Space, table: CostTable) -> Problem:
    return problem(space, table, Feasible([len(v.options) for v in space.variables], []), 10)


def test_who_can_not_reach_the_front_at_its_cost_is_stopped(searched: Problem) -> None:
    """Of architectures that are not in the space, by their curves alone."""
    rule = STOPPING["front"](searched)
    ended = [trained(i, flops=1e9) for i in range(20)]
    best = max(ended, key=lambda r: r.accuracy)
    worst = min(ended, key=lambda r: r.accuracy)
    reason = rule(after(worst, 1), ended)
    assert reason is not None
    assert best.name in reason
    assert f"{best.accuracy:.1%}" in reason
    assert rule(after(worst, 0), ended) is not None
    assert rule(after(best, 1), ended) is None
    for cheaper in ({"flops": 0.9e9}, {"latency_ms": 0.9}):
        known = replace(worst, costs={**worst.costs, **cheaper})
        assert rule(after(known, 1), ended) is None  # nothing that costs as little is known
    assert rule(after(worst, 1), ended[: LEAST - 1]) is None


def test_what_the_model_expects_is_looked_at_too(space: Space, searched: Problem) -> None:
    """Curves that say nothing: architectures alone tell who comes to little."""
    rng = np.random.default_rng(0)
    rows = [
        [int(rng.integers(len(v.options))) if rng.random() < 0.6 else 0 for v in space.variables] for _ in range(80)
    ]
    ended = [
        replace(trained(i, flops=1e9, architecture=space.architecture(row)), initial_accuracy=rng.uniform(0.5, 0.9))
        for i, row in enumerate(rows)
    ]
    rule = STOPPING["front"](searched)
    good = trained(98, flops=1e9, architecture=space.architecture([0] * len(space.variables)))
    bad = trained(99, flops=1e9, architecture=space.architecture([len(v.options) - 1 for v in space.variables]))
    ended = [r for r in ended if r.key not in (good.key, bad.key)]
    alike = {"initial_accuracy": 0.7}
    assert rule(replace(after(bad, 0), **alike), ended) is not None
    assert rule(replace(after(good, 0), **alike), ended) is None
    assert expected(replace(after(bad, 0), **alike), ended)[1] > 0.01  # the curves alone don't know
