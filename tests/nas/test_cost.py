"""The cost table against fvcore's count of whole networks: equal to the unit."""

import random
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from nas.budget import broken, parse_budget
from nas.cost.apart import measure_apart
from nas.cost.flops import count_flops, count_params
from nas.cost.latency import time_models, whole_latencies
from nas.cost.table import CostTable, build_table
from nas.feasible import Feasible
from nas.knapsack import Limit
from nas.metrics import METRICS, directions, in_column, show
from nas.samplers import SAMPLERS, encoding
from nas.samplers.problem import problem
from nas.samplers.within_budget import WithinBudget
from search_spaces import VANILLA, Space, list_spaces, load_space

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def table_of(tmp_path_factory: pytest.TempPathFactory):
    """Space name → its cost table, from a cache that the module's tests share."""
    cache = tmp_path_factory.mktemp("cache")
    return lambda space: build_table(space, CPU, cache)


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
    first = build_table(small, CPU, tmp_path)
    (file,) = tmp_path.iterdir()
    assert build_table(small, CPU, tmp_path) == first  # latencies too: it was not measured again
    file.write_text(file.read_text()[:100])
    again = build_table(small, CPU, tmp_path)
    assert {s: {c: v["flops"] for c, v in e.items()} for s, e in again.slots.items()} == {
        s: {c: v["flops"] for c, v in e.items()} for s, e in first.slots.items()
    }
    assert space.backbone != small.backbone


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
        measure_apart(small, torch.device("meta"), said.append)  # nothing can be timed there
    assert "Traceback" in capfd.readouterr().err


def test_latency_is_of_the_network_and_positive() -> None:
    wide, narrow = torch.nn.Conv2d(64, 64, 3), torch.nn.Conv2d(4, 4, 1)
    slow, _ = time_models([wide, torch.nn.Conv2d(64, 64, 3)], (64, 64, 64), CPU, 5)
    fast, _ = time_models([narrow, torch.nn.Conv2d(4, 4, 1)], (4, 8, 8), CPU, 5)
    assert slow.median_ms > fast.median_ms > 0
    assert slow.spread_ms >= 0


def test_whole_networks_are_timed_by_key() -> None:
    space = load_space("mixed_resnet20")
    networks = [space.uniform(VANILLA), space.architecture([1] * len(space.variables))]
    found = whole_latencies(networks, CPU)
    assert set(found) == {n.key for n in networks}
    assert all(ms > 0 and spread >= 0 for ms, spread in found.values())
    assert whole_latencies([], CPU) == {}


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_measured_shown_and_budgeted(name: str, table_of) -> None:
    """The contract of a metric: of a network above 0, as the table's sum says; its unit is its own, and a budget's."""
    space, metric = load_space("mixed_resnet20"), METRICS[name]
    vanilla = space.uniform(VANILLA)
    alone = metric.cost(vanilla.build(), (3, 32, 32), CPU)
    total = table_of(space).total(vanilla)[name]
    assert alone > 0
    assert total == alone if metric.whole is None else total > 0
    assert parse_budget(f"5{metric.unit}").metric == name
    assert show(name, 5.0) == f"5 {metric.unit}"
    assert float(in_column(name, alone)) >= 0
    assert [m for m in METRICS if METRICS[m].unit.lower() == metric.unit.lower()] == [name]
