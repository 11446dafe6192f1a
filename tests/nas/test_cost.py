"""The cost table against fvcore's count of whole networks: equal to the unit."""

import functools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from nas.budget import broken, parse_budget
from nas.cost.apart import measure_apart
from nas.cost.flops import count_flops, count_params
from nas.cost.table import CostTable, Prediction, build_table, measure
from nas.feasible import Feasible
from nas.form import Form, parse_form
from nas.knapsack import Limit
from nas.metrics import METRICS, directions, in_column, show
from nas.samplers import SAMPLERS, encoding
from nas.samplers.problem import problem
from nas.samplers.within_budget import WithinBudget
from search_spaces import VANILLA, Space, list_spaces, load_space

CPU = parse_form("cpu")


@pytest.fixture(scope="module")
def table_of():
    """Space → its cost table, which the module's tests share."""
    return functools.cache(lambda space: build_table(space, CPU))


def check_exact(space: Space, table: CostTable, seeds: range) -> None:
    size = space.backbone.resolution
    for seed in seeds:
        rng = random.Random(seed)
        architecture = space.architecture([rng.randrange(len(v.options)) for v in space.variables])
        network = architecture.build()
        costs = table.total(architecture)
        assert costs["flops"] == count_flops(network, (1, 3, size, size))
        assert costs["params"] == count_params(network)


LARGE = ("mixed_layerwise", "mixed_resnet18")  # they take minutes


def test_sums_equal_fvcore_to_the_unit(table_of) -> None:
    space = load_space("mixed_resnet20")
    check_exact(space, table_of(space), range(6))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n if n not in LARGE else pytest.param(n, marks=pytest.mark.long) for n in list_spaces()]
)
def test_sums_equal_fvcore_to_the_unit_in_every_space(name: str, table_of) -> None:
    space = load_space(name)
    check_exact(space, table_of(space), range(4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("spconv_layerwise", ["2.5GFLOPs"]),
        ("spconv_layerwise", ["2.46276GFLOPs"]),  # 0.1% above the least that is reachable
        pytest.param("mixed_layerwise", ["2GFLOPs", "12MParams"], marks=pytest.mark.long),
    ],
)
def test_proposals_recounted_by_fvcore_keep_the_budget(name: str, texts: list[str], table_of) -> None:
    space = load_space(name)
    table, budgets = table_of(space), [parse_budget(text) for text in texts]
    limits = [Limit(table.options(space, b.metric), b.limit - table.rest[b.metric]) for b in budgets]
    feasible = Feasible([len(v.options) for v in space.variables], limits)
    for sampler in SAMPLERS.values():
        proposer = WithinBudget(sampler, problem(space, table, feasible, 8), 0)
        study = optuna.create_study(directions=directions(), sampler=proposer)
        for _ in range(8):
            trial = study.ask(proposer.distributions)
            network = space.architecture(encoding.indices(space, trial.params)).build()
            costs = {"flops": count_flops(network, (1, 3, 224, 224)), "params": count_params(network)}
            assert broken(tuple(budgets), costs) == []
            study.tell(trial, [costs["flops"], costs["flops"], costs["params"]])


def test_vanilla_and_many_at_once(table_of) -> None:
    space = load_space("mixed_resnet20")
    table = table_of(space)
    network = space.uniform(VANILLA)
    assert table.total(network)["flops"] == count_flops(network.build(), (1, 3, 32, 32))
    rng = np.random.default_rng(0)
    indices = np.stack([rng.integers(len(v.options), size=200) for v in space.variables], axis=1)
    for metric in ("flops", "params"):
        one_by_one = [table.total(space.architecture(row))[metric] for row in indices.tolist()]
        assert table.totals(space, metric, indices).tolist() == one_by_one


def test_the_cache_is_read_and_a_damaged_one_is_measured_again(tmp_path: Path) -> None:
    space = load_space("compconv_c0")
    small = Space("small", load_space("mixed_resnet20").backbone, load_space("mixed_resnet20").variables[:2])

    def sure(*asked: Any) -> CostTable:
        found = measure(*asked)
        return replace(found, predictions={n: replace(p, doubt="") for n, p in found.predictions.items()})

    first = build_table(small, CPU, tmp_path, how=sure)
    (file,) = tmp_path.iterdir()
    assert build_table(small, CPU, tmp_path) == first  # latencies too: it was not measured again
    again = build_table(small, CPU, tmp_path, how=sure, again=True)
    assert again.slots != first.slots  # no clock says the same twice
    assert build_table(small, CPU, tmp_path) == again
    assert build_table(small, parse_form("cpu:b2"), None).latency_on == "cpu:fp32:b2"
    file.write_text(file.read_text()[:100])
    again = build_table(small, CPU, tmp_path)
    assert {s: {c: v["flops"] for c, v in e.items()} for s, e in again.slots.items()} == {
        s: {c: v["flops"] for c, v in e.items()} for s, e in first.slots.items()
    }
    assert space.backbone != small.backbone


def test_a_table_in_doubt_is_not_kept(tmp_path: Path) -> None:
    small = Space("small", load_space("mixed_resnet20").backbone, load_space("mixed_resnet20").variables[:1])

    def doubted(*asked: Any) -> CostTable:
        return replace(measure(*asked), predictions={"latency_ms": Prediction(doubt="others were busy")})

    assert build_table(small, CPU, tmp_path, how=doubted).doubts == {"latency_ms": "others were busy"}
    assert list(tmp_path.iterdir()) == []


def test_costs_measured_apart_are_the_same(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("nas", "statistics"):  # the working folder's own are nobody's business
        (tmp_path / f"{module}.py").write_text("raise RuntimeError('not ours')")
    monkeypatch.chdir(tmp_path)
    small = Space("small", load_space("mixed_resnet20").backbone, load_space("mixed_resnet20").variables[:2])
    said: list[str] = []
    apart, here = build_table(small, CPU, None, said.append, measure_apart), build_table(small, CPU)
    for slot, choices in here.slots.items():
        assert {c: (v["flops"], v["params"]) for c, v in choices.items()} == {
            c: (v["flops"], v["params"]) for c, v in apart.slots[slot].items()
        }
    assert all(costs["latency_ms"] > 0 for choices in apart.slots.values() for costs in choices.values())
    assert apart.device == here.device
    assert said[0].startswith("measuring the cost of every choice: slot 1 of")
    with pytest.raises(RuntimeError, match="exit code 1"):
        measure_apart(small, Form("cpu", "fp7", 1), said.append)  # nothing can be timed there
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_measured_shown_and_budgeted(name: str, table_of) -> None:
    """The contract of a metric: of a network above 0, as the table's sum says; its unit is its own, and a budget's."""
    space, metric = load_space("mixed_resnet20"), METRICS[name]
    vanilla = space.uniform(VANILLA)
    total = table_of(space).total(vanilla)[name]
    assert (metric.cost is None) == (metric.meter is not None)
    if metric.cost is not None:
        assert total == metric.cost(vanilla.build(), (3, 32, 32))
    assert total > 0
    assert parse_budget(f"5{metric.unit}").metric == name
    assert show(name, 5.0) == f"5 {metric.unit}"
    assert float(in_column(name, total)) >= 0
    assert [m for m in METRICS if METRICS[m].unit.lower() == metric.unit.lower()] == [name]
