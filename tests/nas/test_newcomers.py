"""A new metric, judge and stopping rule: a file and a line each, then a whole search has them everywhere."""

from pathlib import Path

import pytest
import yaml
from rich.console import Console

from nas import search
from nas.metrics import METRICS, OBJECTIVES
from nas.result.front import pareto_front
from nas.result.tables import print_results
from nas.run import Run
from nas.stopping import STOPPING
from search_spaces.checks import BadInput
from trainers.judges import JUDGES
from trainers.report import Status

from . import newcomers

SPACE = {
    "backbone": {"name": "resnet20", "classes": 10, "resolution": 24},
    "exclude": ["conv1", "layer1.*", "layer2.*"],
    "choices": [{"operator": "vanilla"}, {"operator": "spconv", "alpha": ["1/4", "1/2", 1], "groups": [1, 2]}],
}


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A line in each list; returns where the judge notes what it does."""
    monkeypatch.setitem(METRICS, "energy_pj", newcomers.ENERGY)
    monkeypatch.setitem(OBJECTIVES, "energy_pj", "minimize")
    monkeypatch.setitem(JUDGES, "by_name", newcomers.by_name(tmp_path / "notes.txt"))
    monkeypatch.setitem(STOPPING, "half", newcomers.worse_than_half)
    return tmp_path / "notes.txt"


def test_a_search_with_a_new_metric_judge_and_stopping_rule(lists: Path, tmp_path: Path) -> None:
    space = tmp_path / "small.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    asked = {"trials": 12, "judge": "by_name", "stop": "half", "output": tmp_path, "name": "new", "references": False}
    with pytest.raises(BadInput, match="meets the budget 1pJ: it reaches"):
        search(str(space), "1pJ", **asked)
    outcome = search(str(space), "21KpJ", **asked)
    records = outcome.candidates
    # the metric: kept by the budget, in the ledger, an objective, a column, in best.yaml
    assert all(0 < r.costs["energy_pj"] <= 21e3 for r in records)
    assert all(len(r.objectives) == 4 for r in records if r.finished)
    console = Console(width=100, record=True, quiet=False, file=(tmp_path / "out.txt").open("w"))
    print_results(console, outcome.run.question.budget, (outcome.front, []), outcome.best, outcome.measured)
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
