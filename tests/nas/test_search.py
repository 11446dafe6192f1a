"""A search on real Ray: what diverges is recorded, what is killed goes on, the same question has the same answer."""

import os
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch
from ray.tune.experiment import Trial
from rich.console import Console

from nas.budget import parse_budget
from nas.cost.table import CostTable, build_table
from nas.question import Question, create_run
from nas.run.ledger import Record, read_ledger
from nas.searching import Outcome, connected, feasible_set, proposer_of, search, time_in_training
from nas.tune.watch import slim
from search_spaces import Space, load_space
from trainers.data import ImageData
from trainers.data.digits_on_photos import load
from trainers.recipe import Recipe


def test_time_in_training_counts_a_trial_once() -> None:
    """Two at a time for ten seconds, of which 9 and 6 in training; one of them stands in both ledgers."""
    shared = {"key": "k", "status": "finished", "architecture": {}, "flops": 1, "params": 1, "latency_ms": 1.0}
    both = Record("a", **shared, started=100.0, ended=110.0, train_s=9.0)
    other = Record("b", **shared, started=102.0, ended=109.0, train_s=6.0)
    assert time_in_training([both, other, both], at_once=2) == pytest.approx(0.75)
    assert time_in_training([], at_once=2) is None


def test_tune_keeps_little_of_a_trial_that_has_ended() -> None:
    """10,000 of them stay in the driver's memory, and Tune writes a snapshot of all at the end."""
    trial = Trial("train", stub=True, config={"architecture": "a" * 10_000}, experiment_tag="b" * 10_000)
    trial.update_last_result({"accuracy": 0.5, "loss_by_epoch": [1.0] * 100, "training_iteration": 1})
    assert len(str(trial.__dict__)) + len(str(trial.run_metadata.__dict__)) > 20_000
    slim(trial)
    assert len(str(trial.__dict__)) + len(str(trial.run_metadata.__dict__)) < 3_000
    assert len("".join(trial.get_json_state())) < 20
    assert trial.last_result["done"]


@pytest.fixture(scope="module")
def space() -> Space:
    """Three slots of ResNet-20: enough to search, quick to measure."""
    whole = load_space("mixed_resnet20")
    return Space("three", whole.backbone, whole.variables[:3])


@pytest.fixture(scope="module")
def table(space: Space) -> CostTable:
    return build_table(space, torch.device("cpu"))


@pytest.fixture(scope="module")
def data() -> ImageData:
    data = load(None, 24)
    return replace(data, validation=data.validation[:128], test=data.test[:128])


def question(space: Space, output: Path, **changes: object) -> Question:
    asked = Question(
        space=space,
        budgets=(parse_budget("39MFLOPs"),),
        trials=3,
        sampler="random",
        recipe=Recipe(epochs=2, images_per_epoch=64),
        output=output,
        name="run",
        references=False,
    )
    return replace(asked, **changes)


def answer(asked: Question, table: CostTable, data: ImageData) -> Outcome:
    if not asked.resumed:
        create_run(asked.run)
    proposer = proposer_of(asked, table, feasible_set(asked, table))
    with connected(asked) as cluster:
        return search(asked, proposer, data, cluster.at_once, Console(quiet=True))


def test_one_seed_one_answer_and_nothing_is_left_of_tune(
    space: Space, table: CostTable, data: ImageData, tmp_path: Path
) -> None:
    asked = question(space, tmp_path)
    outcome = answer(asked, table, data)
    again = answer(replace(asked, name="again"), table, data)
    assert sorted((r.key, r.accuracy, r.test_accuracy) for r in outcome.candidates) == sorted(
        (r.key, r.accuracy, r.test_accuracy) for r in again.candidates
    )
    assert len(outcome.candidates) == 3
    assert not outcome.interrupted
    assert sorted(p.name for p in asked.run.iterdir()) == ["state", "trials.jsonl"]
    assert [p.name for p in asked.state.iterdir()] == ["proposals.jsonl"]  # no checkpoint is left
    for r in read_ledger(asked.run / "trials.jsonl"):
        assert r.flops <= 39e6
        assert r.flops == table.total(r.built_architecture())["flops"]
        assert len(r.accuracy_by_epoch) == len(r.loss_by_epoch) == 2
        assert 0 < r.train_s <= r.ended - r.started + 0.1
    assert not ray.is_initialized()
    assert (Path.home() / ".ray" / "auth_token").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_references_are_trained_and_are_candidates_where_they_qualify(
    space: Space, table: CostTable, data: ImageData, tmp_path: Path
) -> None:
    asked = question(space, tmp_path, trials=1, recipe=Recipe(epochs=1, images_per_epoch=32), references=True)
    outcome = answer(asked, table, data)
    names = {r.name for r in outcome.references}
    assert {"vanilla", "SPConv α=1/2 g=2", "CompConv C0=512"} <= names
    assert len({r.key for r in outcome.references}) == len(names)
    assert max(r.flops for r in outcome.references) > 39e6  # vanilla is above the budget
    also = {r.key for r in outcome.references if r.flops <= 39e6}
    assert also  # a setting of the papers that is within the budget is a candidate too, trained once
    keys = [r.key for r in read_ledger(asked.run / "trials.jsonl")]
    assert len(keys) == len(set(keys)) == len(also) + 1
    assert also < set(keys)


def test_trials_that_diverge_are_recorded_and_the_search_goes_on(
    space: Space, table: CostTable, data: ImageData, tmp_path: Path
) -> None:
    asked = question(space, tmp_path, recipe=Recipe(epochs=2, images_per_epoch=64, peak_lr=1e30))
    outcome = answer(asked, table, data)
    assert [r.status for r in outcome.candidates] == ["failed"] * 3
    assert all("the training loss of epoch" in r.reason for r in outcome.candidates)
    assert len(read_ledger(asked.run / "trials.jsonl")) == 3


@pytest.mark.slow
def test_trials_that_break_are_recorded_with_their_traceback(
    space: Space, table: CostTable, data: ImageData, tmp_path: Path
) -> None:
    broken = replace(data, mean=(0.0, 0.0))  # two channels' means for three channels
    outcome = answer(question(space, tmp_path, trials=1), table, broken)
    (record,) = outcome.candidates
    assert record.status == "failed"
    assert "Error" in record.reason
    assert "in normalise" in record.traceback  # where it happened
    assert "\x1b" not in record.traceback


@pytest.mark.slow
def test_a_killed_trial_goes_on_from_its_checkpoint(
    space: Space, table: CostTable, data: ImageData, tmp_path: Path
) -> None:
    """SIGKILL of a trial's own process after its first checkpoint."""
    asked = question(space, tmp_path, trials=2, recipe=Recipe(epochs=6, images_per_epoch=512))
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_a_trial, asked.state / "checkpoints")
        outcome = answer(asked, table, data)
    assert killed.result() is None
    assert [r.status for r in outcome.candidates] == ["finished"] * 2
    assert all(len(r.accuracy_by_epoch) == 6 for r in outcome.candidates)
    assert max(len(r.starts) for r in outcome.candidates) > 1  # gone on with, not begun again
    undisturbed = answer(replace(asked, name="undisturbed"), table, data)
    assert {r.key: r.accuracy for r in outcome.candidates} == {r.key: r.accuracy for r in undisturbed.candidates}


@pytest.mark.slow
@pytest.mark.long
def test_thirty_killed_processes_end_in_a_complete_search(
    space: Space, table: CostTable, data: ImageData, tmp_path: Path
) -> None:
    """A trial process is killed every few seconds, 30 times."""
    asked = question(space, tmp_path, trials=24, recipe=Recipe(epochs=6, images_per_epoch=1024))
    kills: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(keep_killing, kills, 30)
        outcome = answer(asked, table, data)
        kills.append(-1)  # the search has ended
        done.result()
    assert len(kills) - 1 == 30
    assert [r.status for r in outcome.candidates] == ["finished"] * 24
    assert len({r.key for r in outcome.candidates}) == 24
    assert all(len(r.accuracy_by_epoch) == 6 for r in outcome.candidates)
    resumptions = sum(
        len(r.starts) - 1 for r in outcome.candidates
    )  # one killed before its first checkpoint begins anew
    assert resumptions > 5


def keep_killing(kills: list[int], times: int) -> None:
    while len(kills) < times and -1 not in kills:
        time.sleep(4)
        pid = trial_process()
        if pid is not None and -1 not in kills:
            os.kill(pid, signal.SIGKILL)
            kills.append(pid)


def kill_a_trial(folder: Path) -> None:
    """End one trial process of this search, by its id, once both trials have a checkpoint."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(folder.glob("*.pt"))) < 2:
        time.sleep(0.2)
    pid = trial_process()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def trial_process() -> int | None:
    """The id of a process of this search that is training."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    parent_of = {pid: parent for pid, parent, _ in rows}
    found: list[int] = []
    for pid, parent, command in rows:
        if "ray::" in command and ".train" in command and parent_of.get(parent) == str(os.getpid()):
            found.append(int(pid))
    return random.choice(found) if found else None
