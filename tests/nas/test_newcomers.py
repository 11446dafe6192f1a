"""A new metric, judge and stopping rule: a file and a line each, then a whole search has them everywhere."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from nas import search
from nas.front import pareto_front
from nas.metrics import METRICS, OBJECTIVES
from nas.result.found import Found
from nas.result.tables import print_results
from nas.run import Run
from nas.stopping import STOPPING
from nas.watch.watch import Watch
from search_spaces.checks import BadInput
from trainers.judges import JUDGES
from trainers.report import Status

from .newcomers import by_name, energy, worse_than_half

SPACE = {
    "backbone": {"name": "resnet20", "classes": 10, "resolution": 24},
    "exclude": ["conv1", "layer1.*", "layer2.*"],
    "choices": [{"operator": "vanilla"}, {"operator": "spconv", "alpha": ["1/4", "1/2", 1], "groups": [1, 2]}],
}

ALONE = {"repeats": 0, "final": 0}  # the judge by name is asked for trials alone


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A line in each list; returns where the judge notes what it does."""
    monkeypatch.setitem(METRICS, "energy_pj", energy.ENERGY)
    monkeypatch.setitem(OBJECTIVES, "energy_pj", "minimize")
    monkeypatch.setitem(JUDGES, "by_name", by_name.make(tmp_path / "notes.txt"))
    monkeypatch.setitem(STOPPING, "half", worse_than_half.make)
    return tmp_path / "notes.txt"


@pytest.mark.slow
def test_a_search_with_a_new_metric_judge_and_stopping_rule(lists: Path, tmp_path: Path) -> None:
    space = tmp_path / "small.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    asked = {"trials": 12, "judge": "by_name", "stop": "half", "output": tmp_path, "name": "new", "references": False}
    asked |= ALONE
    with pytest.raises(BadInput, match="meets the budget 1pJ: it reaches"):
        search(str(space), "1pJ", **asked)
    outcome = search(str(space), "21KpJ", **asked)
    records = outcome.candidates
    # the metric: kept by the budget, in the ledger, an objective, a column, in best.yaml
    assert all(0 < r.costs["energy_pj"] <= 21e3 for r in records)
    assert all(list(r.objectives) == list(OBJECTIVES) for r in records if r.finished)
    console = Console(width=100, record=True, quiet=False, file=(tmp_path / "out.txt").open("w"))
    print_results(console, outcome.run.question.budget, (outcome.front, []), outcome.best, Found(outcome.measured))
    assert "nJ" in console.export_text()
    document = yaml.safe_load((tmp_path / "new" / "best.yaml").read_text())
    assert document["metrics"]["energy_pj"] == outcome.best.costs["energy_pj"]
    assert document["metrics"]["measured"]["energy_pj"] == "made up from the parameters"
    # the rule: stopped after two epochs, with the reason, never in the front, never again
    stopped = [r for r in records if r.status is Status.STOPPED]
    assert 0 < len(stopped) < 12
    assert all(r.epoch == 2 and r.accuracy < 0.5 and "after two epochs" in r.reason for r in stopped)
    assert all(r.finished and r.accuracy >= 0.5 for r in pareto_front(records))
    noted = lists.read_text().splitlines()
    assert len(noted) == 3 * (12 - len(stopped)) + 2 * len(stopped)
    again = search(resume=tmp_path / "new", trials=14)
    assert len(again.candidates) == 14
    assert again.candidates[:12] == records
    later = lists.read_text().splitlines()[len(noted) :]
    assert len(later) in (4, 5, 6)  # two more candidates' epochs, and nobody else's
    assert Run.read(tmp_path / "new").question.judge == "by_name"


@pytest.mark.slow
def test_a_run_that_has_tried_everything_has_ended(lists: Path, tmp_path: Path) -> None:
    """Gone on with, it starts no Ray and changes nothing, although it has fewer candidates than were asked for."""
    space = tmp_path / "tiny.yaml"
    choices = [{"operator": "vanilla"}, {"operator": "spconv", "alpha": ["1/4", "1/2"], "groups": 2}]
    excluded = ["conv1", "layer[12].*", "layer3.[01].*"]
    space.write_text(yaml.safe_dump({**SPACE, "exclude": excluded, "choices": choices}))
    outcome = search(str(space), trials=20, judge="by_name", output=tmp_path, name="all", references=False, **ALONE)
    assert len(outcome.candidates) == 9
    assert (outcome.interrupted, outcome.exhausted) == (False, "every architecture within the budgets has been tried")
    files = [p for p in (tmp_path / "all").rglob("*") if p.is_file() and p.name != "lock"]
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}
    again = search(resume=tmp_path / "all")
    assert again.exhausted == outcome.exhausted
    assert again.best == outcome.best
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files} == before


@pytest.mark.slow
def test_what_was_measured_stays_when_an_extension_is_interrupted(lists: Path, tmp_path: Path) -> None:
    """The YAMLs keep whole networks' latencies, and the device that they are of."""
    space = tmp_path / "small.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    search(str(space), trials=3, judge="by_name", output=tmp_path, name="cut", references=False, **ALONE)
    first = yaml.safe_load((tmp_path / "cut" / "best.yaml").read_text())
    before = first["metrics"]
    assert before["measured"]["latency_ms"]["method"] == "whole network, in turn with vanilla"

    class Interrupting(Watch):
        def planned(self, trials: int) -> None:
            os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C

    costs = tmp_path / "cut" / "state" / "costs.json"
    costs.write_text(json.dumps({**json.loads(costs.read_text()), "device": "another machine's"}))
    with suppress(KeyboardInterrupt):
        search(resume=tmp_path / "cut", trials=6, watch=Interrupting())
    records = Run.read(tmp_path / "cut").candidates
    second = yaml.safe_load((tmp_path / "cut" / "best.yaml").read_text())
    after = second["metrics"]
    if second["layers"] == first["layers"]:
        apart = ("accuracy_by_model",)  # it has seen more since
        assert {k: v for k, v in after.items() if k not in apart} == {k: v for k, v in before.items() if k not in apart}
    measured = {key: v["latency_ms"][0] for key, v in Run.read(tmp_path / "cut").measured["networks"].items()}
    for path in (tmp_path / "cut" / "front").iterdir():
        metrics, key = yaml.safe_load(path.read_text())["metrics"], path.stem.partition("-")[2]
        how = metrics["measured"]["latency_ms"]
        if key in measured:
            assert metrics["latency_ms"] == measured[key]
            assert how["method"] == "whole network, in turn with vanilla"
        else:
            (record,) = (r for r in records if r.key == key)
            assert metrics["latency_ms"] == record.costs["latency_ms"]
            assert how["device"] == "another machine's"
