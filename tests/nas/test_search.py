"""A search on real Ray: what diverges is recorded, what is killed goes on, the same question has the same answer."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import ray
from ray.tune.experiment import Trial

from nas.budget import parse_budget
from nas.candidates import Candidates
from nas.cost.table import CostTable, table_to_document
from nas.legs import Search
from nas.preparation import Prepared, feasible_set
from nas.question import Question
from nas.report.writing import DRAWN, LAYERS
from nas.result.ending import Outcome
from nas.run import Run
from nas.stages import Stages
from nas.tune.tuner import slim
from nas.watch.watch import Watch
from search_spaces import Space, load_space
from search_spaces.checks import BadInput
from trainers.cluster.connection import connected
from trainers.data.base import ImageData
from trainers.data.digits_on_photos import load
from trainers.judges import JUDGES
from trainers.judges.base import Judging, Setting
from trainers.recipe import Recipe
from trainers.report import Status


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
def data() -> ImageData:
    data = load(None, 24)
    return replace(data, validation=data.validation[:128], test=data.test[:128])


@dataclass
class Answering:
    """A search of the small space: its costs and data are there already."""

    space: Space
    table: CostTable
    data: ImageData
    output: Path

    def __call__(self, name: str = "run", **changes: object) -> Outcome:
        asked = Question(
            budget=(parse_budget("39MFLOPs"),),
            trials=3,
            sampler="random",
            recipe=Recipe(epochs=2, images_per_epoch=64),
            output=self.output,
            name=name,
            references=False,
            device="cpu",
            gpus_per_trial=0.0,
            judge="scratch",
            repeats=0,
            final=0,
        )
        question = replace(asked, **changes)
        ready = Prepared(question, self.space, self.data, self.table, feasible_set(self.space, self.table, question))
        about = {"backbone": {}, "data": self.data.fingerprint()}
        state = {"space": {}, "costs": table_to_document(self.table)}
        with connected(None) as cluster, Run.create(question, about, state) as run:
            candidates = Candidates(run, self.space, self.table, ready.feasible)
            stages = Stages(run, self.space, self.table, ready.feasible, candidates)
            return Search(run, ready, stages, cluster, Watch()).run_it()


@pytest.fixture
def answer(space: Space, table: CostTable, data: ImageData, tmp_path: Path) -> Answering:
    return Answering(space, table, data, tmp_path)


@pytest.mark.slow
def test_one_seed_one_answer_and_nothing_is_left_of_tune(answer: Answering) -> None:
    outcome, again = answer(), answer("again")
    assert sorted((r.key, r.accuracy, r.test_accuracy) for r in outcome.candidates) == sorted(
        (r.key, r.accuracy, r.test_accuracy) for r in again.candidates
    )
    assert len(outcome.candidates) == 3
    assert not outcome.interrupted
    assert 0 < outcome.in_training <= 1
    run = outcome.run
    left = {p.name for p in run.folder.iterdir()}
    drawn = {name for name in DRAWN if not name.startswith(LAYERS)}  # the space was read from no YAML
    assert left == {"best.yaml", "front", "search.yaml", "state", "trials.jsonl", *drawn}
    # no checkpoint is left, and no half-written file
    assert {p.name for p in run.state.iterdir()} == {
        "costs.json",
        "lock",
        "measured.json",
        "proposals.jsonl",
        "space.yaml",
    }
    for r in run.candidates:
        assert r.costs["flops"] <= 39e6
        assert r.costs == answer.table.total(r.built_architecture())
        assert len(r.accuracy_by_epoch) == len(r.loss_by_epoch) == r.epoch == 2
        assert 0 < r.step_s < r.train_s <= r.ended - r.started + 0.1
        assert r.micro_batches == 1
    assert not ray.is_initialized()
    assert (Path.home() / ".ray" / "auth_token").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_references_are_trained_and_are_candidates_where_they_qualify(answer: Answering) -> None:
    outcome = answer(trials=1, recipe=Recipe(epochs=1, images_per_epoch=32), references=True)
    names = {r.name for r in outcome.references}
    assert {"vanilla", "SPConv α=1/2 g=2", "CompConv C0=512"} <= names
    assert len({r.key for r in outcome.references}) == len(names)
    assert max(r.costs["flops"] for r in outcome.references) > 39e6  # vanilla is above the budget
    also = {r.key for r in outcome.references if r.costs["flops"] <= 39e6}
    assert also  # a setting of the papers that is within the budget is a candidate too, trained once
    keys = [r.key for r in outcome.run.candidates]
    assert len(keys) == len(set(keys)) == len(also) + 1
    assert also < set(keys)


def test_trials_that_diverge_are_recorded_and_the_search_goes_on(answer: Answering) -> None:
    outcome = answer(recipe=Recipe(epochs=2, images_per_epoch=64, peak_lr=1e30))
    assert [r.status for r in outcome.candidates] == [Status.FAILED] * 3
    assert all("the training loss of epoch" in r.reason for r in outcome.candidates)
    assert len(outcome.run.candidates) == 3
    assert (outcome.best, outcome.front) == (None, [])


@pytest.mark.slow
def test_a_failure_that_hits_all_trials_alike_stops_the_search(answer: Answering) -> None:
    """Not after a hundred; none is recorded, so that all can be tried again."""
    with pytest.raises(BadInput, match=r"the first 4 trials all failed, the last by: the training loss of epoch"):
        answer(trials=100, recipe=Recipe(epochs=2, images_per_epoch=64, peak_lr=1e30))
    assert Run.read(answer.output / "run").candidates == []


@dataclass(frozen=True)
class NeverBegins:
    """A judge that can't be begun anywhere, as where a package is missing on the nodes."""

    setting: Setting

    def begin(self, architecture: Mapping[str, object], checkpoint: str | None, seed: int) -> Judging:
        raise ModuleNotFoundError("No module named 'something'")


@pytest.mark.slow
def test_processes_that_all_die_alike_stop_the_search(answer: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after ten restarts of each trial; nothing is recorded, so that all can be tried again."""
    monkeypatch.setitem(JUDGES, "never", NeverBegins)
    with pytest.raises(BadInput, match=r"died 4 times without a report: .*No module named 'something'"):
        answer(trials=50, judge="never")
    assert Run.read(answer.output / "run").candidates == []


@pytest.mark.slow
def test_trials_that_break_are_recorded_with_their_traceback(answer: Answering) -> None:
    broken = replace(answer.data, mean=(0.0, 0.0))  # two channels' means for three channels
    (record,) = replace(answer, data=broken)(trials=1).candidates
    assert record.status is Status.FAILED
    assert "Error" in record.reason
    assert "in normalise" in record.traceback  # where it happened
    assert "\x1b" not in record.traceback


@pytest.mark.slow
def test_a_killed_trial_goes_on_from_its_checkpoint(answer: Answering) -> None:
    """SIGKILL of a trial's own process after its first checkpoint."""
    recipe = Recipe(epochs=6, images_per_epoch=512)
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_a_trial, answer.output / "run" / "state")
        outcome = answer(trials=2, recipe=recipe)
    assert killed.result() is None
    assert [r.status for r in outcome.candidates] == [Status.FINISHED] * 2
    assert all(len(r.accuracy_by_epoch) == 6 for r in outcome.candidates)
    assert max(len(r.starts) for r in outcome.candidates) > 1  # gone on with, not begun again
    undisturbed = answer("undisturbed", trials=2, recipe=recipe)
    assert {r.key: r.accuracy for r in outcome.candidates} == {r.key: r.accuracy for r in undisturbed.candidates}


@pytest.mark.slow
@pytest.mark.long
def test_thirty_killed_processes_end_in_a_complete_search(answer: Answering) -> None:
    """A trial process is killed again and again, 30 times."""
    kills: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(keep_killing, kills, 30, answer.output / "run" / "state")
        outcome = answer(trials=24, recipe=Recipe(epochs=6, images_per_epoch=1024))
        kills.append(-1)  # the search has ended
        done.result()
    assert len(kills) - 1 == 30
    assert [r.status for r in outcome.candidates] == [Status.FINISHED] * 24
    assert len({r.key for r in outcome.candidates}) == 24
    assert all(len(r.accuracy_by_epoch) == 6 for r in outcome.candidates)
    resumptions = sum(
        len(r.starts) - 1 for r in outcome.candidates
    )  # one killed before its first checkpoint begins anew
    assert resumptions > 5


def keep_killing(kills: list[int], times: int, folder: Path) -> None:
    """A trial's process, at every fourth checkpoint: however fast the machine is, all kills find one."""
    seen: set[tuple[str, int]] = set()
    written: set[tuple[str, int]] = set()
    while len(kills) < times and -1 not in kills:
        time.sleep(0.05)
        for path in folder.glob("checkpoints-*/*.pt"):
            with suppress(FileNotFoundError):
                written |= {(path.name, path.stat().st_mtime_ns)} - seen
        pid = trial_process() if len(written) >= 4 else None
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            kills.append(pid)
            seen |= written
            written.clear()


def kill_a_trial(folder: Path) -> None:
    """End one trial process of this search, by its id, once both trials have a checkpoint."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(folder.glob("checkpoints-*/*.pt"))) < 2:
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
