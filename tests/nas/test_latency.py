"""Latency: the clock and its doubts, the form that is deployed, whole networks, the prediction of the table."""

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import nas.latency
from nas.command_line import main
from nas.cost.apart import measure_apart
from nas.cost.clock import BUSY, HOPELESS_ROUNDS, MOST_ROUNDS, WORST, Clock, Load, Pass, Sample, Timing, _clocks
from nas.cost.latency import LAYER_WORST, Meter, Reading
from nas.cost.table import CostTable, Prediction, fitted_slope, predicting, spread_out, table_from, table_to_document
from nas.form import RUNNERS, Form, parse_form
from nas.front import pareto_front
from nas.legs import distrusted
from nas.record import Record
from nas.result.measured import Measured
from nas.result.measuring import measured_too
from nas.samplers.memory import coarse
from search_spaces import VANILLA, Architecture, Backbone, Choice, fold, load_space
from search_spaces.checks import BadInput
from search_spaces.operators import OPERATORS
from trainers.report import Status
from trainers.turns import measuring_on

RESNET20 = Backbone("resnet20", 10, 32)
SHAPE = (3, 32, 32)


class Quiet(Load):
    """A machine on which others take that share of the cores."""

    def __init__(self, share: float = 0.0) -> None:
        self.share = share

    def others(self) -> float:
        return self.share

    def since(self, began: tuple[float, float, float]) -> float:
        return self.others()


def clock(share: float = 0.0, **how: Any) -> Clock:
    return Clock(**{"load": Quiet(share), "patience_s": 0.0, "hurried": False, **how})


def passes(true_ms: Sequence[float], drift: Callable[[int], float], noise: float = 0.0) -> list[Callable[[], Sample]]:
    """Of networks that take so long, on a machine whose speed drifts with every pass that it runs."""
    rng, count = np.random.default_rng(0), [0]

    def of(ms: float) -> Callable[[], Sample]:
        def once() -> Sample:
            count[0] += 1
            return Sample(ms * drift(count[0]) * float(np.exp(noise * rng.standard_normal())))

        return once

    return [of(ms) for ms in true_ms]


@given(st.floats(0.2, 3), st.floats(-0.002, 0.004))
@settings(deadline=None, max_examples=50)
def test_a_ratio_survives_drift(ratio: float, drift: float) -> None:
    """The machine's speed changes by up to half over the measurement; the ratio by less than its drift in one round."""
    _, timing = clock().in_turn(passes([10, 10 * ratio], lambda i: (1 + drift) ** i))
    assert timing.ratio == pytest.approx(ratio, rel=2.1 * abs(drift) + 1e-9)
    assert timing.doubt == ""


def test_there_are_as_many_rounds_as_the_spread_asks_for() -> None:
    calm, rough = (clock().in_turn(passes([10, 8], lambda i: 1, noise))[1] for noise in (0.001, 0.02))
    assert calm.rounds < rough.rounds < MOST_ROUNDS
    assert abs(calm.ratio - 0.8) < 0.002
    assert abs(rough.ratio - 0.8) < 4 * rough.error
    assert rough.error <= 0.005
    wild = clock().in_turn(passes([10, 8], lambda i: 1, 0.5))[1]
    assert wild.rounds == MOST_ROUNDS
    assert "scatters by" in wild.doubt
    assert clock(worst=0.2).in_turn(passes([10, 8], lambda i: 1, 0.5))[1].doubt == ""
    assert clock(most_s=0.0).in_turn(passes([10, 8], lambda i: 1, 0.5), rounds=7)[1].rounds == 3
    assert clock(most_s=0.0).in_turn(passes([10, 8], lambda i: 1, 0.5), least=1)[1].rounds == 1


def test_a_layer_may_scatter_more_than_a_network() -> None:
    """A network is many of them, and whole ones show what they get wrong together."""
    seen: list[float] = []

    @dataclass
    class Seen(Clock):
        def in_turn(self, passes: Sequence[Pass], rounds: int = 3, least: int = 3) -> list[Timing]:
            seen.append(self.worst)
            return super().in_turn(passes, rounds, least)

    meter, layer, shape = Meter(parse_form("cpu"), Seen(hurried=True)), nn.Conv2d(4, 4, 1), (4, 8, 8)
    meter.layer(layer, layer, shape)
    assert seen == [LAYER_WORST]
    list(meter.networks(lambda: layer, [lambda: layer], shape))
    assert set(seen[1:]) == {WORST}


@given(st.floats(0.002, 0.05), st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_the_error_is_the_one_that_is_said(noise: float, seed: int) -> None:
    """Of many measurements nearly all are within four of their errors."""
    rng = np.random.default_rng(seed)

    def once(ms: float) -> Callable[[], Sample]:
        return lambda: Sample(ms * float(np.exp(noise * rng.standard_normal())))

    found = [clock().in_turn([once(10), once(7)], rounds=20)[1] for _ in range(20)]
    assert sum(abs(t.ratio - 0.7) > 4 * t.error * t.ratio for t in found) <= 2


def test_a_busy_machine_is_waited_for_and_then_said(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("nas.cost.clock.time.sleep", slept.append)
    busy = clock(BUSY + 0.3, patience_s=3.0)
    first = busy.in_turn(passes([10, 8], lambda i: 1))[1]
    assert sum(slept) == 3.0
    assert first.doubt == "other work took 55% of the cores meanwhile"
    assert first.rounds == HOPELESS_ROUNDS
    busy.in_turn(passes([10, 8], lambda i: 1))
    assert sum(slept) == 3.0  # the patience is spent
    assert clock(BUSY + 0.3, on_cpu=False).in_turn(passes([10, 8], lambda i: 1))[1].doubt == ""


def test_without_patience_it_is_hurried_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERWISE_NAS_PATIENCE_S", "0")
    timing = Clock().in_turn(passes([10, 8], lambda i: 1))[1]
    assert (timing.rounds, timing.ratio) == (HOPELESS_ROUNDS, 0.8)
    assert timing.doubt == "it was timed in a hurry (LAYERWISE_NAS_PATIENCE_S=0)"


def test_passes_that_waited_for_their_core_do_not_count() -> None:
    count = [0]

    def sometimes() -> Sample:
        count[0] += 1
        return Sample(80, alone=False) if count[0] % 3 == 0 else Sample(8)

    timing = clock().in_turn([lambda: Sample(10), sometimes])[1]
    assert (timing.ratio, timing.doubt) == (0.8, "")
    never = clock().in_turn([lambda: Sample(10), lambda: Sample(8, alone=False)])[1]
    assert never.doubt == "most passes waited for their core"


@pytest.mark.parametrize("runner", RUNNERS)
def test_forms_are_read_as_they_are_written(runner: str) -> None:
    for dtype in RUNNERS[runner]:
        form = Form(runner, dtype, 7)
        assert parse_form(str(form)) == form
    assert parse_form(runner.upper()) == parse_form(f" {runner} ")


@pytest.mark.parametrize("text", ["", "gpu", "cpu:fp16", "onnxruntime:bf16", "cpu:b0", "cpu:b9999", "cpu:x", "cpu:b-1"])
def test_no_form_is_said_in_one_line(text: str) -> None:
    with pytest.raises(BadInput, match="--latency-on") as said:
        parse_form(text)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_what_is_timed_is_the_folded_network(name: str, layout: str) -> None:
    """Every operator: the deployed network equals the folded one to 1e-5 of the largest logit."""
    architecture = load_space("mixed_resnet20").uniform(Choice.of(name))
    network = architecture.build().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.running_mean)
    meter = Meter(parse_form("cpu"), clock(most_s=0.0))
    images = torch.randn(3, *SHAPE)
    with torch.inference_mode():
        expected, found = fold(network)(images), meter.deployed(network, SHAPE)(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_other_forms_are_used_where_they_are_faster() -> None:
    """And a layer alone is a network too."""
    meter = Meter(parse_form("cpu"), clock(most_s=0.0))
    layer = Choice.of("spconv", alpha=1 / 2, groups=2).build(load_space("mixed_resnet20").slots["layer1.0.conv1"])
    meter.deployed(layer.eval(), (16, 32, 32))
    (key,) = meter.chosen
    for name in ("grouped", "dense", ""):
        meter.chosen[key] = name
        made = meter.deployed(layer, (16, 32, 32))
        assert (type(made).__name__ == "SPConv2d") == (name == "")


@pytest.mark.parametrize("form", ["cpu", "cpu:b2", "onnxruntime"])
def test_whole_networks_beside_vanilla(form: str) -> None:
    pytest.importorskip("onnxruntime")
    half = load_space("mixed_resnet20").uniform(Choice.of("spconv", alpha=1 / 2, groups=2))
    meter = Meter(parse_form(form), clock(most_s=0.0))
    vanilla, other = meter.networks(Architecture(RESNET20).inference, [half.inference], SHAPE)
    assert vanilla.ratio == 1
    assert other.ms == pytest.approx(other.ratio * vanilla.ms)
    assert other.error == pytest.approx(other.ratio_error * other.ms)
    assert 0 < other.quartiles[0] <= other.quartiles[1]
    again, _ = meter.networks(Architecture(RESNET20).inference, [half.inference], SHAPE, base_ms=vanilla.ms)
    assert again.ms == vanilla.ms
    assert {"device", "batch", "latency_on", "niceness", "clock_mhz"} <= set(meter.how())


def record(key: str, architecture: Architecture | None = None, **costs: float) -> Record:
    network = architecture or load_space("mixed_resnet20").uniform(VANILLA)
    return Record(
        name=key, key=network.key if architecture else key, architecture=network.to_dict(), costs=costs, seed=0,
        status=Status.FINISHED, accuracy=0.5,
    )  # fmt: skip


def test_what_was_measured_is_never_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    space, calls = load_space("mixed_resnet20"), []
    records = [record(f"{n}", space.uniform(Choice.of("spconv", alpha=1 / n, groups=1))) for n in (2, 4)]

    def run(function: Callable[..., Any], *arguments: Any) -> Any:
        calls.append([a.key for a in arguments[3]])
        monkeypatch.setenv("LAYERWISE_NAS_PATIENCE_S", "0")
        return function(*arguments)

    form = parse_form("cpu")
    first = measured_too(Measured({}, {}), records[:1], RESNET20, form, run)
    assert set(first.networks) == {Architecture(RESNET20).key, records[0].key}
    assert first.how["latency_on"] == "cpu:fp32:b1"
    then = measured_too(first, records, RESNET20, form, run)
    assert calls == [[records[0].key], [records[1].key]]
    assert {key: then.networks[key] for key in first.networks} == first.networks
    assert {key: then.details[key] for key in first.details} == first.details
    reading, base = then.details[records[1].key]["latency_ms"], first.networks[Architecture(RESNET20).key]
    assert reading["ms"] == pytest.approx(reading["ratio"] * base["latency_ms"][0])
    assert measured_too(then, records, RESNET20, form, run) is then
    kept = Measured.from_document(json.loads(json.dumps({**then.to_document(), "trials": []})))
    assert kept.networks == then.networks
    assert kept.details == then.details


def test_ratios_are_of_the_milliseconds_that_budgets_were_set_by() -> None:
    half = record("half", load_space("mixed_resnet20").uniform(Choice.of("spconv", alpha=1 / 2, groups=1)))

    def run(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    found = measured_too(Measured({}, {}), [half], RESNET20, parse_form("cpu"), run, base={"latency_ms": 123.0})
    reading = found.details[half.key]["latency_ms"]
    assert found.networks[Architecture(RESNET20).key]["latency_ms"][0] == 123.0
    assert reading["ms"] == pytest.approx(123.0 * reading["ratio"])
    assert reading["how"]["latency_on"] == "cpu:fp32:b1"


def test_a_table_knows_the_milliseconds_that_its_budgets_are_set_by() -> None:
    space = load_space("mixed_resnet20")
    slots = {name: {VANILLA: {"flops": 1.0, "latency_ms": 0.5}} for name in space.slots}
    for doubt in ("", "busy"):
        predictions = {"latency_ms": Prediction(doubt=doubt)}
        table = CostTable({"flops": 1.0, "latency_ms": 2.0}, slots, "a device", predictions=predictions)
        total = table.total(space.uniform(VANILLA))["latency_ms"]
        assert table.base == ({} if doubt else {"latency_ms": pytest.approx(total)})


def test_a_doubt_of_vanilla_is_one_of_all_that_it_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was measured just now, or when the run ended before; not where its figure comes from elsewhere."""
    monkeypatch.setattr(Meter, "_pass", lambda *_: lambda: Sample(8.0))
    shares = iter([0.9] * 3 + [0.0] * 1000)

    class Leaving(Quiet):
        def others(self) -> float:
            return next(shares)

    def first(base_ms: float | None) -> tuple[Reading, Reading]:
        meter = Meter(parse_form("cpu"), clock(most_s=0.0, load=Leaving()))
        made = lambda: nn.Conv2d(4, 4, 1)  # noqa: E731
        vanilla, other = meter.networks(made, [made], (4, 8, 8), base_ms=base_ms)
        return vanilla, other

    vanilla, other = first(None)
    assert vanilla.doubt == "other work took 90% of the cores meanwhile"
    assert other.doubt == f"vanilla: {vanilla.doubt}"
    shares = iter([0.9] * 3 + [0.0] * 1000)
    assert [reading.doubt for reading in first(5.0)] == ["", ""]

    key, half = Architecture(RESNET20).key, record("h", load_space("mixed_resnet20").uniform(VANILLA))
    before = Measured({key: {"latency_ms": (9.0, 0.1)}}, {}, {key: {"latency_ms": {"doubt": "busy"}}})
    new = {"new": {"latency_ms": {"ms": 1.0, "error": 0.1}}}
    found = measured_too(before, [replace(half, key="new")], RESNET20, parse_form("cpu"), lambda *_: (new, {}))
    assert found.details["new"]["latency_ms"]["doubt"] == "vanilla: busy"


def test_patience_is_for_all_networks_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has the device and never leaves it: who waited for the first network waits for no other."""
    monkeypatch.setattr(Meter, "_pass", lambda *_: lambda: Sample(8.0))
    waits = []

    def waiting(device: torch.device, patience_s: float) -> AbstractContextManager[bool]:
        waits.append(patience_s)
        return measuring_on(device, patience_s)

    monkeypatch.setattr("nas.cost.latency.measuring_on", waiting)
    held, done = threading.Event(), threading.Event()

    def holding() -> None:
        with measuring_on(torch.device("cpu"), 60.0):
            held.set()
            done.wait(60.0)

    holder = threading.Thread(target=holding)
    holder.start()
    try:
        assert held.wait(60.0)
        meter = Meter(parse_form("cpu"), clock(most_s=0.0, patience_s=0.2))
        made = lambda: nn.Conv2d(4, 4, 1)  # noqa: E731
        found = list(meter.networks(made, [made] * 3, (4, 8, 8)))
    finally:
        done.set()
        holder.join()
    assert waits[0] == 0.2
    assert set(waits[1:]) == {0.0}
    assert all("did not give way" in reading.doubt for reading in found)


def test_a_form_that_was_chosen_in_doubt_is_looked_at_again() -> None:
    layer = (
        Choice.of("spconv", alpha=1 / 2, groups=2).build(load_space("mixed_resnet20").slots["layer1.0.conv1"]).eval()
    )
    for share, kept in ((0.9, 0), (0.0, 1)):
        meter = Meter(parse_form("cpu"), clock(share, most_s=0.0))
        meter.deployed(layer, (16, 32, 32))
        assert len(meter.chosen) == kept


def test_work_that_begins_meanwhile_is_noticed() -> None:
    """Over the very time that was measured, not over the half second before it."""

    class Later(Quiet):
        def since(self, began: tuple[float, float, float]) -> float:
            return 0.8

    assert "80%" in clock(load=Later()).in_turn(passes([10, 8], lambda i: 1))[1].doubt
    load, began = Load(), _clocks()
    code = "import time\nend = time.time() + 0.6\nwhile time.time() < end: pass"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
    assert load.since(began) > 0.3 / (os.cpu_count() or 1)  # of a core, for most of the time


def test_a_figure_in_doubt_breaks_no_budget() -> None:
    sure, doubted = record("sure", latency_ms=9.0, flops=1e9), record("doubted", latency_ms=9.0, flops=1e9)
    details = {"sure": {"latency_ms": {"ms": 20.0}}, "doubted": {"latency_ms": {"ms": 20.0, "doubt": "others"}}}
    measured = Measured({key: {"latency_ms": (20.0, 0.1)} for key in details}, {}, details)
    assert measured.costs(doubted) == measured.costs(sure) == measured.sure_costs(sure)
    assert measured.sure_costs(sure)["latency_ms"] == 20.0
    assert measured.sure_costs(doubted) == {"latency_ms": 9.0, "flops": 1e9}


def test_measurements_of_an_earlier_version_are_read() -> None:
    old = {"networks": {"a": {"latency_ms": [73.0, 4.0]}}, "device": {"device": "AMD EPYC"}}
    assert Measured.from_document(old).networks == {"a": {"latency_ms": (73.0, 2.0)}}
    assert Measured.from_document(old).doubt == ""


class Sums:
    """A meter of networks that take what their layers say, times a slope, and noise."""

    def __init__(self, table: CostTable, chosen: Sequence[Architecture], slope: float, noise: float) -> None:
        self.table, self.chosen, self.slope, self.noise = table, chosen, slope, noise

    def networks(self, vanilla: Any, others: Sequence[Any], shape: Any, most_s: float) -> list[Reading]:
        rng = np.random.default_rng(1)
        base = self.table.total(load_space("mixed_resnet20").uniform(VANILLA))["latency_ms"] + 3.0  # of what is no slot
        found = [base]
        for architecture in self.chosen:
            difference = self.table.total(architecture)["latency_ms"] + 3.0 - base
            found.append((base + self.slope * difference) * float(np.exp(self.noise * rng.standard_normal())))
        return [Reading(ms, 0.0, (ms, ms), 1.0, 0.0, 5) for ms in found]


@pytest.mark.parametrize(("slope", "noise"), [(0.7, 0.0), (1.3, 0.0), (1.0, 0.03)])
def test_sums_are_put_right_by_whole_networks(slope: float, noise: float) -> None:
    space, rng = load_space("mixed_resnet20"), np.random.default_rng(0)
    slots = {
        name: {c: {"latency_ms": float(rng.uniform(0.5, 2))} for c in {o for v in space.variables for o in choices(v)}}
        for name in space.slots
    }
    raw = CostTable({"latency_ms": 0.0}, slots, "a device")
    chosen = spread_out(raw, "latency_ms", space)
    found = predicting(raw, "latency_ms", Sums(raw, chosen, slope, noise), space)
    prediction = found.predictions["latency_ms"]
    assert prediction.slope == pytest.approx(slope, abs=0.03 if noise == 0 else 0.3)
    assert prediction.error == pytest.approx(noise, abs=0.01 if noise == 0 else 0.03)
    truth = [r.ms for r in Sums(raw, chosen, slope, 0.0).networks(None, [], None, 0)]
    for architecture, ms in zip(chosen, truth[1:], strict=True):
        assert found.total(architecture)["latency_ms"] == pytest.approx(ms, rel=0.01 + 3 * noise)
    assert table_from(json.loads(json.dumps(table_to_document(with_all(found))))) == with_all(found)
    assert found.resolutions["latency_ms"] == max(0.01, math.sqrt(2) * prediction.error)


def choices(variable: Any) -> list[Choice]:
    return [VANILLA, *(choice for option in variable.options for choice in option.choices)]


def with_all(table: CostTable) -> CostTable:
    """With a cost in every metric, as tables are kept."""
    slots = {
        s: {c: {"flops": 1.0, "params": 1.0, **v} for c, v in entries.items()} for s, entries in table.slots.items()
    }
    return replace(table, slots=slots, rest={"flops": 1.0, "params": 1.0, **table.rest})


@given(st.floats(0.4, 1.8), st.lists(st.floats(-0.5, 0.3), min_size=4, max_size=12))
@settings(deadline=None)
def test_a_slope_is_found_where_there_is_something_to_find(slope: float, differences: list[float]) -> None:
    found, error = fitted_slope(differences, [slope * d for d in differences], 1.0)
    told = sum(d * d for d in differences)
    assert min(1.0, slope) - 1e-9 <= found <= max(1.0, slope) + 1e-9
    assert abs(found - slope) <= abs(1 - slope) * 0.02**2 / (told + 0.02**2) + 1e-9
    assert error >= 0
    assert fitted_slope([0.0], [0.0], 1.0) == (1.0, 0.0)


@given(st.floats(-0.5, 0.3), st.floats(0.01, 0.15))
def test_the_error_is_a_share_of_each_network_itself(difference: float, error: float) -> None:
    """Of networks that are all predicted alike, and differ to both sides: fast ones by fewer milliseconds."""
    measured = [(1 + difference) / (1 + e) - 1 for e in (error, -error)] * 10
    _, found = fitted_slope([difference] * 20, measured, 1.0)
    assert found == pytest.approx(error, rel=0.3)


@pytest.mark.parametrize("said", ["10min", "-1", "nan", "inf"])
def test_no_patience_is_said_in_one_line(said: str, monkeypatch: pytest.MonkeyPatch, exported: Path) -> None:
    """Also where another process measures."""
    monkeypatch.setenv("LAYERWISE_NAS_PATIENCE_S", said)
    with pytest.raises(BadInput, match=f"must be seconds, such as 60, or 0 for a hurry; got '{said}'"):
        Clock()
    if said == "10min":
        with pytest.raises(BadInput, match="must be seconds"):
            measure_apart(load_space("mixed_resnet20"), parse_form("cpu"), lambda text: None)


def test_onnxruntime_that_is_not_there_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nas.form.find_spec", lambda name: None)
    assert nas.latency.main([str(exported), "--latency-on", "onnxruntime"]) == 2
    assert "needs the extra [export]" in capsys.readouterr().err
    assert main(["--space", "mixed_resnet20", "--dry-run", "--latency-on", "onnxruntime"]) == 2
    assert "needs the extra [export]" in capsys.readouterr().err


def test_the_front_resolves_no_finer_than_the_prediction() -> None:
    slow, fast = record("slow", latency_ms=10.4, flops=1e9), record("fast", latency_ms=10.0, flops=1e9)
    better = replace(slow, accuracy=0.6)
    assert pareto_front([better, fast]) == [better, fast]
    assert pareto_front([better, fast], 0.0, {"latency_ms": 0.05}) == [better]
    quick = replace(fast, costs={"latency_ms": 9.0, "flops": 1e9})
    assert pareto_front([better, quick], 0.0, {"latency_ms": 0.05}) == [better, quick]


@given(st.floats(1e-3, 1e6), st.floats(1e-3, 0.3))
def test_samplers_learn_of_no_finer_difference(value: float, error: float) -> None:
    assert coarse(value, error) == pytest.approx(value, rel=error)
    assert coarse(coarse(value, error), error) == pytest.approx(coarse(value, error))
    assert coarse(value, 0.0) == value
    assert len({round(math.log(coarse(value * (1 + t * error / 4), error)), 9) for t in range(3)}) <= 2


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    architecture = load_space("mixed_resnet20").uniform(Choice.of("spconv", alpha=1 / 2, groups=2))
    path = tmp_path / "best.yaml"
    path.write_text(yaml.safe_dump(architecture.to_dict()))
    return path


def test_any_architecture_is_measured_beside_vanilla(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = nas.latency.main([str(exported), "--latency-on", "cpu:b2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["how"]["batch"] == 2
    assert list(found["networks"]) == ["vanilla", str(exported)]
    assert found["networks"]["vanilla"]["ratio"] == 1
    doubted = any("doubt" in reading for reading in found["networks"].values())
    assert status == (3 if doubted else 0)
    assert nas.latency.main([str(exported)]) in (0, 3)
    shown = capsys.readouterr().out
    assert "of vanilla" in shown
    assert "latency_on cpu:fp32:b1" in shown


def test_one_architecture_in_several_files(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As ``best.yaml front/*.yaml`` names it; and vanilla itself."""
    same, vanilla = tmp_path / "0001.yaml", tmp_path / "0002.yaml"
    same.write_bytes(exported.read_bytes())
    vanilla.write_text(yaml.safe_dump(Architecture(RESNET20).to_dict()))
    assert nas.latency.main([*map(str, (exported, same, vanilla)), "--json"]) in (0, 3)
    found = json.loads(capsys.readouterr().out)["networks"]
    assert found[str(exported)] == found[str(same)]
    assert found[str(vanilla)] == found["vanilla"]


def test_mistakes_are_told_in_one_line(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(Architecture(Backbone("resnet20", 100, 32)).to_dict()))
    wrong = [[str(tmp_path / "none.yaml")], [str(exported), str(other)], [str(exported), "--latency-on", "tpu"]]
    wrong += [] if torch.cuda.is_available() else [[str(exported), "--latency-on", "cuda"]]
    for arguments in [*wrong, [], [str(exported), "--latencyon", "cpu"]]:
        try:
            status = nas.latency.main(arguments)
        except SystemExit as ended:  # argparse's own way out
            status = int(str(ended.code))
        assert status == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.removeprefix("python -m ").startswith("nas.latency: ")
        assert said.err.count("\n") == 1


def test_a_doubt_is_said(monkeypatch: pytest.MonkeyPatch, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LAYERWISE_NAS_PATIENCE_S", "0.4")
    monkeypatch.setattr("nas.cost.clock.Load.others", lambda load: 0.6)
    assert nas.latency.main([str(exported)]) == 3
    assert "can't be trusted: other work took 60% of the cores" in capsys.readouterr().out


def test_doubts_of_a_table() -> None:
    """They are said when a search begins, and where its space is shown."""
    table = CostTable({}, {}, "a device", predictions={"latency_ms": Prediction(0.9, 0.031, 7, "busy")})
    assert table.doubts == {"latency_ms": "busy"}
    assert distrusted(table) == "latencies can't be trusted: busy; a new search measures them again"
    said = "predicted to ± 3.1%, by 7 whole networks"
    assert table.predictions["latency_ms"].in_words == f"{said}; can't be trusted: busy"
    sure = replace(table, predictions={"latency_ms": Prediction(0.9, 0.031, 7)})
    assert (sure.doubts, distrusted(sure), sure.predictions["latency_ms"].in_words) == ({}, None, said)
