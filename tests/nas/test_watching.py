"""Who watches a search: the tally, the terminal, the log, Optuna's journal, TensorBoard's events, Ray's metrics."""

import io
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.util.state import list_actors, list_tasks
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nas import search
from nas.budget import parse_budget
from nas.candidates import Candidate
from nas.cost.table import CostTable
from nas.progress import Scale
from nas.record import Record
from nas.tune.gauges import GAUGES, PREFIX
from nas.watch.boards import SearchBoards
from nas.watch.log import Log
from nas.watch.optuna_journal import CONSTRAINTS, OptunaJournal
from nas.watch.tally import Tally
from nas.watch.tensorboard import TrialBoards
from nas.watch.terminal import Terminal
from nas.watch.watch import Asked, Watch
from search_spaces import Space
from trainers.report import Report, Status

from ..beforehand import measured_beforehand

BUDGETS = (parse_budget("30MFLOPs"),)
ASKED = Asked("a run", BUDGETS, Scale("flops", 10e6, 30e6, 0.1))
DEPLOY = Path(__file__).parent.parent.parent / "deploy"


def candidate(name: str, space: Space, number: int) -> Candidate:
    row = [number % len(v.options) for v in space.variables]
    return Candidate(name, space.architecture(row), 0)


def record(of: Candidate, table: CostTable, accuracy: float | None = 0.5, **changes: Any) -> Record:
    known: dict[str, Any] = {
        **{"status": Status.FINISHED, "accuracy": accuracy, "test_accuracy": accuracy, "ended": float(of.name)},
        **{"accuracy_by_epoch": (0.2, 0.4), "loss_by_epoch": (2.0, 1.0), "train_s": 9.0},
    }
    costs = table.total(of.architecture)
    return Record(
        name=of.name, key=of.key, architecture=of.architecture.to_dict(), costs=costs, seed=0, **(known | changes)
    )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_tally_counts_and_knows_what_is_left(space: Space, table: CostTable) -> None:
    clock = Clock()
    tally = Tally(clock)
    tally.searches(ASKED, [])
    assert (tally.leader(), tally.hypervolume(), tally.left_s) == (None, None, None)
    tally.planned(4)
    few = [candidate(f"{i:04d}", space, i) for i in range(1, 4)]
    for one in few:
        tally.began(one, 0.25)
        tally.running(one.name, None)
    assert len(tally.open) == 3
    clock.now = 60.0
    tally.ended(record(few[0], table, 0.6))
    tally.ended(record(few[1], table, None, status=Status.FAILED, test_accuracy=None, reason="no memory"))
    assert (tally.done[Status.FINISHED], tally.done[Status.FAILED], tally.ended_count, len(tally.open)) == (1, 1, 2, 1)
    assert (tally.left_s, tally.an_hour, tally.proposing_s) == (60.0, 120.0, 0.25)
    other = record(few[2], table, 0.9)
    tally.best(other, (0.8, 0.01))
    assert tally.leader() is other
    again = Tally(clock)
    again.searches(ASKED, tally.candidates)
    assert again.front() == tally.front()
    reference = replace(few[0], name="uniform one", is_reference=True)
    for also, counted in ((frozenset(), 0), (frozenset({reference.key}), 1)):  # as the run's ledger has it, or not
        tally.searches(replace(ASKED, also=also), [])
        tally.began(reference, 0.1)
        tally.ended(replace(record(few[0], table), name="uniform one"))
        tally.ended(replace(record(few[0], table), name="uniform one, seed 2"))
        tally.ended(replace(record(few[0], table, 0.99), name="uniform one", seed=1))
        assert len(tally.candidates) == counted
    tally.searches(ASKED, [])
    tally.ended(record(few[0], table, 0.6))
    tally.ended(replace(record(few[0], table, 0.9), seed=1))  # judged again: no further candidate
    assert [r.accuracy for r in tally.candidates] == [0.6]
    tally.planned(2)
    assert (tally.ended_count, tally.open) == (0, {})


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 10)])
def test_the_terminals_view_fits(width: int, height: int, space: Space, table: CostTable) -> None:
    """No line is longer than the terminal is wide, all are fewer than it is high, and no number is lost."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)
    terminal = Terminal(console)
    terminal.searches(ASKED, [])
    terminal.said("Ray dashboard: http://127.0.0.1:8265")
    terminal.total = 40
    for i in range(1, 30):
        one = candidate(f"{i:04d}", space, i)
        Tally.ended(terminal, record(one, table, 0.5 + i / 100))
        terminal.states[f"1{i:03d}"] = f"1{i:03d} epoch 3 41.2%"
    terminal.shown = terminal.front()
    with console.capture() as captured:
        console.print(terminal._view())
    lines = captured.get().rstrip("\n").splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= max(height, 10)
    text = " ".join(" ".join(lines).split())
    assert "29 of 40 trials ended (29 finished), 0 running" in text
    assert "best within the budget: " in text
    assert "more" in text.partition("running: ")[2] or "29 trials" in text
    assert ("the front so far" in text) == (height > 20)


def test_a_pipe_gets_whole_lines(space: Space, table: CostTable) -> None:
    console = Console(file=io.StringIO(), width=80)
    terminal = Terminal(console)
    terminal.searches(ASKED, [])
    terminal.planned(2)
    terminal.running("0001", Report(accuracy=0.25, loss_by_epoch=(1.0,)))
    terminal.ended(record(candidate("0001", space, 1), table))
    terminal.closed()
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "  running: 0001 epoch 1 25.0%"
    assert lines[1].startswith("0001: accuracy 50.0%, ")
    assert lines[1].endswith(", 9 s")


def test_the_log_has_every_line_with_its_time(tmp_path: Path, space: Space, table: CostTable) -> None:
    log = Log(tmp_path / "search.log")
    for text in ("one\n  two", "one\n  two", "three"):
        log.said(text)
    log.ended(record(candidate("0001", space, 1), table))
    lines = (tmp_path / "search.log").read_text().splitlines()
    assert [line.partition(" ")[2] for line in lines[:3]] == ["one", "  two", "three"]
    assert "0001: accuracy 50.0%" in lines[3]
    assert all(line[:2] == "20" for line in lines)


def trials_of(path: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="a run", storage=JournalStorage(JournalFileBackend(str(path)))).trials


def test_optunas_journal_grows_with_the_search(tmp_path: Path, space: Space, table: CostTable) -> None:
    path, few = tmp_path / "optuna.log", [candidate(f"{i:04d}", space, i) for i in range(1, 5)]
    journal = OptunaJournal(path, "a run", space, BUDGETS, [])
    for one in few[:3]:
        journal.began(one, 0.5)
    journal.running("0001", Report(accuracy=0.3, loss_by_epoch=(1.0,)))
    assert [t.state for t in trials_of(path)] == [TrialState.RUNNING] * 3
    assert trials_of(path)[0].intermediate_values == {1: 0.3}
    ended = [record(few[0], table), record(few[1], table, None, status=Status.STOPPED, test_accuracy=None, reason="x")]
    for one in ended:
        journal.ended(one)
    journal.began(replace(few[0], seed=1), 0.1)  # a repeat
    journal.running("0001", Report(accuracy=0.9, loss_by_epoch=(1.0,)))
    journal.ended(replace(ended[0], seed=1, accuracy=0.9))
    for name in ("0001, seed 2", "vanilla"):  # of a later stage; the parent, which is no reference
        journal.began(replace(few[0], name=name), 0.1)
        journal.ended(replace(ended[0], name=name))
    first, second, third = trials_of(path)
    assert (first.state, second.state, third.state) == (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    assert first.values == list(ended[0].objectives.values())
    assert first.intermediate_values == {1: 0.3}
    assert first.user_attrs["name"] == "0001"
    assert first.system_attrs[CONSTRAINTS] == [ended[0].costs["flops"] - 30e6]
    assert set(first.params) == set(journal.distributions)
    # gone on with: what ended elsewhere is told, what runs goes on, nothing is there twice
    third_record, fourth = record(few[2], table), record(few[3], table)
    again = OptunaJournal(path, "a run", space, BUDGETS, [*ended, third_record])
    again.began(few[3], 0.1)
    again.ended(fourth)
    assert [t.user_attrs["name"] for t in trials_of(path)] == ["0001", "0002", "0003", "0004"]
    assert [t.state.is_finished() for t in trials_of(path)] == [True] * 4
    path.write_bytes(path.read_bytes()[:-40] + b"\nnothing that can be read\n")
    OptunaJournal(path, "a run", space, BUDGETS, [*ended, third_record, fourth])
    assert [t.user_attrs["name"] for t in trials_of(path)] == ["0001", "0002", "0003", "0004"]


def test_tensorboards_reader_reads_each_trial(tmp_path: Path, space: Space, table: CostTable) -> None:
    boards = TrialBoards(tmp_path)
    one = record(candidate("0001", space, 1), table)
    boards.ended(one)
    boards.ended(replace(one, name="vanilla"))
    boards.searches(ASKED, [])
    boards.ended(replace(one, seed=1, accuracy_by_epoch=(0.7, 0.8)))  # a repeat: no second curve
    assert [p.name for p in tmp_path.iterdir()] == ["0001"]
    found = EventAccumulator(str(tmp_path / "0001")).Reload()
    assert [(e.step, pytest.approx(e.value)) for e in found.Scalars("trial/accuracy")] == [(1, 0.2), (2, 0.4)]
    assert found.Scalars("found/flops")[0].value == pytest.approx(one.costs["flops"])
    assert "_hparams_/session_start_info" in found.summary_metadata


def test_grafanas_panels_ask_for_metrics_that_there_are() -> None:
    dashboard = json.loads((DEPLOY / "grafana-search.json").read_text())
    asked_for = {t["expr"].partition("{")[0] for panel in dashboard["panels"] for t in panel["targets"]}
    assert asked_for == {f"ray_{PREFIX}{name}" for name in (*GAUGES, "trial_accuracy")}


class Looking(Watch):
    """Looks at Ray while the search runs, as somebody would: when one trial has ended, and one has reported before."""

    def __init__(self) -> None:
        self.metrics, self.actors, self.tasks = "", list[str](), dict[str, str]()
        self.has_ended = False

    def ended(self, record: Record) -> None:
        self.has_ended = True

    def running(self, name: str, report: Report | None) -> None:
        if self.tasks or not self.has_ended or report is None or report.epoch != 2:
            return
        (node,) = ray.nodes()
        time.sleep(30)  # no trial reports: Ray would have forgotten by now what it was told once
        address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        self.metrics = urllib.request.urlopen(address, timeout=10).read().decode()
        address = ray.get_runtime_context().gcs_address
        self.actors = [a.class_name for a in list_actors(address=address)]
        self.tasks = {t.name: t.state for t in list_tasks(address=address, limit=1000)}


@pytest.mark.slow
def test_ray_and_optuna_show_a_search_that_runs(tmp_path: Path) -> None:
    small = {
        "references": False,
        "final": 0,
        "repeats": 0,
        "epochs": 3,
        "trials": 4,
        "output": measured_beforehand(tmp_path, "mixed_resnet20"),
        "name": "seen",
    }
    looking = Looking()
    outcome = search("mixed_resnet20", "20MFLOPs", watch=looking, **small)  # type: ignore[arg-type]
    assert len(outcome.candidates) == 4
    assert 'run="seen"' in looking.metrics
    for name in (*GAUGES, "trial_accuracy"):
        assert f"ray_{PREFIX}{name}{{" in looking.metrics, name
    assert "seen, trials" in looking.actors
    shown = {name: state for name, state in looking.tasks.items() if name.startswith("seen 000")}
    assert all(
        re.fullmatch(r"seen 000\d [\d.]+ [MG]FLOPs(, epoch \d: [\d.]+%|, finished at [\d.]+%)?", n) for n in shown
    ), shown
    assert any("finished at" in name and state == "FINISHED" for name, state in shown.items()), shown
    assert any("finished at" not in name and state == "RUNNING" for name, state in shown.items()), shown
    run = outcome.run.folder
    assert {"0001", "0002", "0003", "0004"} <= {p.name for p in (run / "tensorboard").iterdir()}
    assert "4 trials are to end" in (run / "state" / "search.log").read_text()
    found = _studies(run / "state" / "optuna.log")
    assert [study["study_name"] for study in found] == ["seen"]


def _studies(journal: Path) -> list[Mapping[str, Any]]:
    """What optuna-dashboard, really started, says of a journal."""
    program = shutil.which("optuna-dashboard", path=str(Path(sys.executable).parent))
    assert program is not None
    with subprocess.Popen([program, str(journal), "--port", "18080"], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    answer = urllib.request.urlopen("http://127.0.0.1:18080/api/studies", timeout=10).read()
                    return list(json.loads(answer)["study_summaries"])
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.5)
        finally:
            process.terminate()


def test_a_searchs_figures_stand_on_a_board(
    tmp_path: Path, space: Space, table: CostTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run of MLflow's for a search, gone on with after an interruption."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file://{tmp_path}/mlruns")
    said: list[str] = []
    records = [record(candidate(f"{i:04d}", space, i), table, 0.5 + i / 100) for i in range(1, 4)]
    for before, after in ((0, 2), (2, 3)):
        boards = SearchBoards(("mlflow",), tmp_path, {"space": "six"}, before, said.append)
        boards.searches(ASKED, records[:before])
        for one in records[before:after]:
            boards.ended(one)
        boards.closed()
    assert said == []
    (run,) = mlflow.search_runs(output_format="list")
    found = mlflow.MlflowClient().get_metric_history(run.info.run_id, "search/accuracy")
    assert [(m.step, m.value) for m in found] == [(i, pytest.approx(0.5 + i / 100)) for i in (1, 2, 3)]
    assert {"search/flops", "search/hypervolume"} <= set(run.data.metrics)
    assert run.data.params == {"space": "six"}
