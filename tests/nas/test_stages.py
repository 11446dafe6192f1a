"""What is judged beside the trials follows from the run's files, however often a process dies."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from nas.candidates import Candidate, Candidates
from nas.cost.table import CostTable
from nas.preparation import feasible_set
from nas.prior import GROUPS
from nas.question import asked
from nas.run import Run
from nas.stage import Stage
from nas.stages import FINAL_SEEDS, Stages, finals_of, judged, planned_repeats, pooled_of
from nas.uniform import ALIKE, MOST, uniform_settings
from search_spaces import VANILLA, Space, load_space
from search_spaces.checks import BadInput
from trainers.judges import JUDGES
from trainers.report import Report, Status

ROOT = Path(__file__).parent.parent.parent


class Sandbox:
    """A run's files, and its stages made anew from them as often as a process might be."""

    def __init__(self, space: Space, table: CostTable, folder: Path, **options: object) -> None:
        self.space, self.table = space, table
        given = {"budget": "39MFLOPs", "output": folder, "name": "run", "device": "cpu", "sampler": "random"}
        given["judge"] = "inherited"
        question = asked({**given, "trials": 12, **options})
        (question.folder / "state").mkdir(parents=True)
        self.run = Run(question.folder, "id", question, {})
        self.feasible = feasible_set(space, table, question)

    def stages(self) -> Stages:
        candidates = Candidates(self.run, self.space, self.table, self.feasible)
        return Stages(self.run, self.space, self.table, self.feasible, candidates)

    def trials(self) -> None:
        """All of them, from beginning to end."""
        candidates = self.stages().candidates
        while (candidate := candidates.suggest()) is not None:
            candidates.update(candidate.name, finished(candidate))


def finished(candidate: Candidate) -> Report:
    """An accuracy made from the key, and some noise made from the seed."""
    accuracy = (
        0.5 + int(candidate.key, 16) % 1009 / 4036 + random.Random(f"{candidate.key} {candidate.seed}").gauss() / 200
    )
    return Report(status=Status.FINISHED, accuracy=accuracy, test_accuracy=accuracy, weights=b"weights")


def work(stage: Stage, most: int = 1000) -> int:
    """So many judgings; returns how many there were to do."""
    done = 0
    while done < most and (candidate := stage.suggest()) is not None:
        assert stage.update(candidate.name, finished(candidate)) is not None
        done += 1
    return done


@pytest.fixture
def box(space: Space, table: CostTable, tmp_path: Path) -> Sandbox:
    return Sandbox(space, table, tmp_path)


def test_repeats_are_the_first_candidates_and_the_references_under_another_seed(box: Sandbox) -> None:
    box.trials()
    assert work(box.stages().repeats()) > 3
    again = box.run.judged("repeats")
    assert {r.seed for r in again} == {1}
    assert {r.key for r in box.run.references} <= {r.key for r in again}
    numbers, count = [r.name for r in again if r.name.isdigit()], planned_repeats(box.run.question)
    assert numbers == sorted(r.name for r in box.run.candidates if r.name.isdigit())[:count]
    by_key = {r.key: r for r in box.run.candidates}
    assert all(by_key[r.key].accuracy != r.accuracy for r in again if r.key in by_key)


def test_what_the_final_stage_judges_as_trials_are_is_noise_and_score_as_well(
    space: Space, table: CostTable, tmp_path: Path
) -> None:
    box = Sandbox(space, table, tmp_path, judge="scratch", repeats=3)
    box.trials()
    assert work(box.stages().repeats()) == 3  # references come again in the final stage
    before = pooled_of(box.run, space, table, with_finals=True)
    trained = work(box.stages().final())
    after, chosen_from = (pooled_of(box.run, space, table, with_finals=w) for w in (True, False))
    assert after.noise.freedom > before.noise.freedom == chosen_from.noise.freedom
    vanilla_too = sum(space.indices(r.built_architecture()) is not None for r in box.run.judged("final"))
    assert len(after.rows) == len(before.rows) + vanilla_too <= len(before.rows) + trained
    assert all(r.isdigit() for r in chosen_from.names.values() if r[0].isdigit())


@pytest.mark.parametrize("trials", [1, 12, 40, 1000])
def test_the_noise_is_measured_in_one_stage_or_the_other(trials: int) -> None:
    """The final stage shows it where it judges as trials are judged; else repeats do."""
    for judge in JUDGES:
        for final in (0, 3):
            question = asked({"judge": judge, "final": final, "trials": trials})
            assert (planned_repeats(question) == 0) == (final > 0 and question.finals_are_alike)
            assert planned_repeats(asked({"judge": judge, "final": final, "trials": trials, "repeats": 2})) == 2


def test_a_stage_goes_on_where_it_was(box: Sandbox) -> None:
    """Made anew after each judging, it judges each once; then the run has nothing to do."""
    box.trials()
    for name in ("repeats", "final"):
        judgings = 0
        while judgings < 100 and work(getattr(box.stages(), name)(), most=1):
            judgings += 1
        records = box.run.judged(name)
        assert len(records) == judgings < 100  # it came to an end
        assert len({(r.key, r.seed) for r in records}) == len(records)
    assert box.stages().to_do() == 0


def test_the_final_stage_has_candidates_that_differ_beside_what_they_are_to_beat(box: Sandbox) -> None:
    box.trials()
    work(box.stages().repeats())
    work(box.stages().final())
    records = box.run.judged("final")
    names = {r.name.rpartition(", seed ")[0] for r in records}
    keys = {r.key for r in records}
    assert len(records) == FINAL_SEEDS * len(names) == FINAL_SEEDS * len(keys)
    assert {r.seed for r in records}.isdisjoint({r.seed for r in judged(box.run)})  # luck is not counted twice
    assert "vanilla" in names
    assert any(name.startswith("papers' ") for name in names)
    kept = [r for r in box.run.references if r.name != "vanilla" and r.costs["flops"] <= 39e6]
    most = max(r.costs["flops"] for r in kept)
    assert {r.key for r in kept if r.costs["flops"] >= ALIKE * most} <= keys  # whatever the model thinks of them
    assert sum(name.isdigit() or name.startswith("unseen") for name in names) >= 2
    within = [r for r in records if r.name.startswith(("0", "unseen"))]
    assert all(r.costs["flops"] <= 39e6 for r in within)


def test_finalists_stay_until_there_are_more_trials(box: Sandbox) -> None:
    box.trials()
    work(box.stages().repeats())
    work(box.stages().final(), most=2)
    before = box.run.finalists
    work(box.stages().final(), most=2)
    assert box.run.finalists == before
    (box.run.state / "finalists.json").write_text("torn")
    assert box.stages().to_do() == 1  # it is not known yet how many: nothing is chosen by asking
    work(box.stages().final())
    assert box.run.finalists == before  # chosen again, from the same records


def test_the_final_stage_says_nothing_until_it_is_complete_and_forgets_nothing(box: Sandbox) -> None:
    """Not in the middle of it; after trials were added, who was trained in the stage before still counts."""
    box.trials()
    work(box.stages().repeats())
    work(box.stages().final(), most=2)
    assert box.stages().finals() == finals_of(box.run) == []
    work(box.stages().final())
    before = box.stages().finals()
    assert before == finals_of(box.run) == box.run.judged("final")
    box.run = replace(box.run, question=replace(box.run.question, trials=40, planned=12))
    box.trials()
    assert box.stages().finals() == finals_of(box.run) == []
    work(box.stages().repeats())
    assert work(box.stages().final()) > 0  # others are final now
    assert [r.key for r in box.stages().finals()][: len(before)] == [r.key for r in before]
    box.run = replace(box.run, question=replace(box.run.question, final=0))
    assert box.stages().finals() == finals_of(box.run) == []


def test_who_failed_is_not_final_and_who_was_stopped_is_not_unseen(
    space: Space, table: CostTable, tmp_path: Path
) -> None:
    box = Sandbox(space, table, tmp_path, trials=30, final=8)
    candidates = box.stages().candidates
    while (candidate := candidates.suggest()) is not None:
        lost = int(candidate.key, 16) % 3
        how = (
            Report(status=(Status.FAILED, Status.STOPPED)[lost], reason="made up") if lost < 2 else finished(candidate)
        )
        candidates.update(candidate.name, how)
    work(box.stages().repeats())
    work(box.stages().final())
    by_key, names = {r.key: r for r in box.run.candidates}, {r.key: r.name for r in box.run.judged("final")}
    chosen = {key: name for key, name in names.items() if name[0].isdigit() or name.startswith("unseen ")}
    assert len(chosen) == 8
    assert all(by_key[key].status is not Status.FAILED for key in chosen.keys() & by_key)
    assert {key for key, name in chosen.items() if name[0].isdigit()} == chosen.keys() & by_key.keys()


@pytest.mark.parametrize(("options", "stage"), [({"repeats": 0}, "repeats"), ({"final": 0}, "final")])
def test_a_stage_can_be_left_out(
    space: Space, table: CostTable, tmp_path: Path, options: dict[str, int], stage: str
) -> None:
    box = Sandbox(space, table, tmp_path, **options)
    box.trials()
    assert getattr(box.stages(), stage)().to_do == 0


def test_without_any_finished_trial_there_is_nothing_behind_them(box: Sandbox) -> None:
    assert box.stages().to_do() == 0


def test_the_parent_is_trained_once_and_its_weights_are_written_first(
    space: Space, table: CostTable, tmp_path: Path
) -> None:
    box = Sandbox(space, table, tmp_path, judge="inherited")
    with pytest.raises(BadInput, match="the vanilla network that candidates inherit from could not be trained"):
        box.stages().require_parent()
    stage = box.stages().parent()
    assert stage.waiting[0].architecture == space.uniform(VANILLA)
    assert work(stage) == 1
    assert box.run.parent_file.read_bytes() == b"weights"
    assert '"weights"' not in box.run.stage_file("parent").read_text()
    assert box.stages().parent().to_do == 0
    box.stages().require_parent()
    box.run.parent_file.unlink()
    assert box.stages().parent().to_do == 1  # nothing has started from it
    box.trials()
    with pytest.raises(BadInput, match=r"parent\.pt is missing: copy it with the run's folder"):
        box.stages().parent()  # from another one what follows would not compare


def test_a_judge_that_starts_afresh_has_no_parent(space: Space, table: CostTable, tmp_path: Path) -> None:
    box = Sandbox(space, table, tmp_path, judge="scratch")
    assert box.stages().parent().to_do == 0
    box.stages().require_parent()


def test_a_full_disk_keeps_a_judging_open(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    box.trials()
    stage = box.stages().repeats()
    candidate = stage.suggest()
    monkeypatch.setattr("nas.run.journal.append", _full)
    assert stage.update(candidate.name, finished(candidate)) is None
    assert stage.disk_error is not None
    assert stage.suggest() is None
    assert candidate.name in stage.open


def _full(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_uniform_settings_are_within_the_budget_and_use_most_of_it(box: Sandbox) -> None:
    budget = box.run.question.budget
    found = uniform_settings(box.space, box.table, budget)
    costs = [box.table.total(a)["flops"] for a in found.values()]
    assert 1 <= len(found) <= MOST
    assert all(cost <= budget[0].limit for cost in costs)
    assert costs == sorted(costs, reverse=True)
    assert len({a.key for a in found.values()}) == len(found)


def test_what_was_judged_has_each_architecture_and_seed_once(box: Sandbox) -> None:
    box.trials()
    work(box.stages().repeats())
    records = judged(box.run)
    assert len({(r.key, r.seed) for r in records}) == len(records)
    assert {r.seed for r in records} == {0, 1}


SPACE = {
    "description": "Three convolutions of a small network: short trials.",
    "backbone": {"name": "resnet20", "classes": 10, "resolution": 24, "width": 0.5},
    "exclude": ["conv1", "layer1.*", "layer2.*", "layer3.0.conv1", "layer3.0.conv2"],
    "choices": [{"operator": "vanilla"}, {"operator": "spconv", "alpha": ["1/4", "1/2"], "groups": [1, 2]}],
}


def test_what_is_known_of_the_choices_is_in_the_models_that_propose_and_that_name(
    space: Space, table: CostTable, tmp_path: Path
) -> None:
    """Measured between the parent and the first proposal; of an earlier run it is missing."""
    box = Sandbox(space, table, tmp_path, sampler="additive")
    candidates = box.stages().candidates
    box.run.write_sensitivity([[0.1 * i for i in range(len(v.options))] for v in space.variables])
    while (candidate := candidates.suggest()) is not None:
        candidates.update(candidate.name, finished(candidate))
    pool = pooled_of(box.run, space, table)
    assert pool is not None
    assert len(pool.model.prior.roots) == len(GROUPS)
    before = [r.name for r in box.run.candidates]
    (box.run.state / "sensitivity.json").unlink()
    pool = pooled_of(box.run, space, table)
    assert pool is not None
    assert len(pool.model.prior.roots) == len(GROUPS) - 1
    (box.run.state / "sensitivity.json").write_text("[1, 2]")  # damaged: as if it had not been measured
    assert box.run.sensitivity is None
    assert [r.name for r in box.run.candidates] == before


@pytest.mark.slow
def test_a_search_that_is_killed_in_every_stage_is_gone_on_with(tmp_path: Path) -> None:
    """SIGKILL of the driver as soon as each stage has a record; nothing is lost, nothing judged twice."""
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SPACE))
    run = tmp_path / "run"
    asked_for = ["--space", str(tmp_path / "small.yaml"), "--trials", "4", "--epochs", "1", "--no-references"]
    begin = [
        *asked_for,
        "--judge",
        "inherited",
        "--repeats",
        "2",
        "--final",
        "1",
        "--output",
        str(tmp_path),
        "--name",
        "run",
    ]
    seen: dict[str, list[str]] = {}
    for name in ("parent", "trials", "repeats", "final"):
        going = ["--resume", str(run)] if run.exists() else begin
        kill_when_it_is_there(run / f"{name}.jsonl", going, tmp_path / "log.txt")
        seen[name] = lines(run / f"{name}.jsonl")
    done = subprocess.run(
        [sys.executable, "launch.py", "--resume", str(run)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Final stage" in done.stdout
    for name, count in {"parent": 1, "trials": 4, "repeats": 2, "final": FINAL_SEEDS}.items():
        after = lines(run / f"{name}.jsonl")
        assert after[: len(seen[name])] == seen[name]
        assert len(after) == count
    assert not list((run / "state").glob("checkpoints-*/*"))
    best = yaml.safe_load((run / "best.yaml").read_text())
    assert best["metrics"]["final"]["seeds"] == [2, 3, 4]
    assert best["metrics"]["accuracy_noise"]["degrees_of_freedom"] == 2
    moved = Run.read(run).sensitivity
    assert moved is not None
    assert [len(row) for row in moved] == [len(v.options) for v in load_space(str(tmp_path / "small.yaml")).variables]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def kill_when_it_is_there(path: Path, arguments: list[str], log: Path) -> None:
    """The process and all that it started, by its own group."""
    with log.open("a") as file:
        command = [sys.executable, "launch.py", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
    deadline = time.monotonic() + 200
    while not lines(path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert lines(path), log.read_text()[-2000:]
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
