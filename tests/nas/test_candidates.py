"""What to try next, without Ray: thousands of trials, extended, and killed between any two writes."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

import nas.curves
from nas.candidates import Candidate, Candidates
from nas.cost.table import CostTable
from nas.preparation import feasible_set
from nas.question import asked
from nas.run import Run, journal
from nas.samplers import SAMPLERS
from nas.stopping import STOPPING
from search_spaces import Space
from search_spaces.checks import BadInput
from trainers.report import Report, Status


class Sandbox:
    """A run's files, and candidates made anew from them as often as a process might be."""

    def __init__(self, space: Space, table: CostTable, folder: Path, **options: object) -> None:
        self.space, self.table, self.options = space, table, options
        self.folder = folder
        self.run = self.planned(int(options["trials"]))

    def planned(self, trials: int) -> Run:
        question = asked({"budget": "39MFLOPs", "output": self.folder, "name": "run", "device": "cpu", **self.options})
        (question.folder / "state").mkdir(parents=True, exist_ok=True)
        extended = asked({**self.options, "trials": trials, "budget": "39MFLOPs", "output": self.folder, "name": "run"})
        planned = type(extended)(**{**extended.__dict__, "planned": question.trials})
        self.run = Run(question.folder, "id", planned, {})
        return self.run

    def candidates(self) -> Candidates:
        return Candidates(self.run, self.space, self.table, feasible_set(self.space, self.table, self.run.question))


def judged(candidate: Candidate) -> Report:
    """An accuracy made from the key; one in twenty fails, one in twenty is stopped."""
    number = int(candidate.key, 16)
    kind = number % 20
    if kind < 2:
        return Report(status=(Status.FAILED, Status.STOPPED)[kind], reason="made up", loss_by_epoch=(1.0,))
    accuracy = number % 10_007 / 10_007
    return Report(status=Status.FINISHED, accuracy=accuracy, test_accuracy=accuracy, loss_by_epoch=(1.0,))


def work(candidates: Candidates, at_once: int = 1) -> Iterator[None]:
    """Until nothing is to do; yields after each step."""
    running: list[Candidate] = []
    while True:
        while len(running) < at_once and (candidate := candidates.suggest()) is not None:
            running.append(candidate)
            yield
        if not running:
            return
        candidate = running.pop(0)
        assert candidates.update(candidate.name, judged(candidate)) is not None
        yield


def check(box: Sandbox, trials: int) -> None:
    """Complete, in order, nothing twice, all within the budget."""
    records = [r for r in box.run.candidates if r.name.isdigit()]
    assert sorted(int(r.name) for r in records) == list(range(1, trials + 1))
    keys = [r.key for r in box.run.candidates]
    assert len(set(keys)) == len(keys)
    assert max(r.costs["flops"] for r in box.run.candidates) <= 39e6
    assert all(r.status.is_final for r in records)
    again = box.candidates()  # the files are whole
    assert again.to_do == 0
    assert {r.key for r in box.run.references} & set(again.also_candidates) <= set(keys)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [s if s == "random" else pytest.param(s, marks=pytest.mark.long) for s in SAMPLERS])
def test_three_thousand_trials_in_a_run_that_was_planned_for_sixteen(
    sampler: str, space: Space, table: CostTable, tmp_path: Path
) -> None:
    """Extended twice, by processes that know the files alone; two trials are always open when one ends."""
    box = Sandbox(space, table, tmp_path, trials=16, sampler=sampler, no_references=True)
    for trials, left_open in ((16, 0), (1500, 3), (3000, 0)):
        box.planned(trials)
        candidates = box.candidates()
        for _ in work(candidates, at_once=2):
            if left_open and len(candidates.ended) >= trials - 16 - left_open:
                break  # the process dies with trials open
    again = box.candidates()
    list(work(again))
    check(box, 3000)


class Killed(BaseException):
    """As SIGKILL: nothing that follows is done."""


@pytest.mark.filterwarnings("ignore::nas.run.journal.TornWarning")
@pytest.mark.parametrize("sampler", ["additive", "nsga2"])  # a memory of all trials, and one that forgets
@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_killed_at_every_single_write(
    sampler: str, moment: str, space: Space, table: CostTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, within and after each write of the run in turn; the next process finishes what is left."""
    append, left = journal.append, 0

    def risky(path: Path, entry: dict) -> None:
        nonlocal left
        left -= 1
        if left == 0 and moment == "within":
            with path.open("ab") as file:
                file.write(b'{"format": 2, "na')  # torn
        if left == 0 and moment != "after":
            raise Killed
        append(path, entry)
        if left == 0:
            raise Killed

    monkeypatch.setattr(journal, "append", risky)
    write, killed = 0, True
    while killed:
        write, killed = write + 1, False
        box, left = Sandbox(space, table, tmp_path / str(write), trials=6, sampler=sampler), write
        try:
            list(work(box.candidates(), at_once=2))
        except Killed:
            killed = True
            list(work(box.candidates(), at_once=2))
        check(box, 6)
    assert write > 6 * 2 + 4  # each candidate's proposal and end, and the references


@pytest.mark.filterwarnings("ignore::nas.run.journal.TornWarning")
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again(
    sampler: str, seed: int, space: Space, table: CostTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process dies at one of its writes, at random; the last one finishes what is left."""
    rng, append = random.Random(seed), journal.append
    box = Sandbox(space, table, tmp_path, trials=30, sampler=sampler)

    def risky(path: Path, entry: dict) -> None:
        fate = rng.random()
        if fate < 0.1:
            raise Killed
        append(path, entry)
        if fate < 0.2:
            raise Killed

    monkeypatch.setattr(journal, "append", risky)
    deaths = 0
    for _ in range(200):
        try:
            list(work(box.candidates(), at_once=2))
            break
        except Killed:
            deaths += 1
    assert deaths > 3
    check(box, 30)
    assert {r.name for r in box.run.references} >= {"vanilla", "SPConv α=1/2 g=2"}
    assert len(box.run.references) == len({r.name for r in box.run.references})


@pytest.mark.parametrize("text", ["{}", '{"name": "0001", "params": 3}', '{"name": "x", "params": {}}'])
def test_proposals_that_are_damaged_are_one_line(text: str, space: Space, table: CostTable, tmp_path: Path) -> None:
    box = Sandbox(space, table, tmp_path, trials=3, sampler="random")
    box.run.proposals_file.write_text(text + "\n")
    with pytest.raises(BadInput, match=r"proposals\.jsonl is damaged: .*; copy it with the run's folder"):
        box.candidates()


def test_random_proposals_do_not_depend_on_interruptions(space: Space, table: CostTable, tmp_path: Path) -> None:
    whole = Sandbox(space, table, tmp_path / "whole", trials=12, sampler="random", no_references=True)
    list(work(whole.candidates()))
    parts = Sandbox(space, table, tmp_path / "parts", trials=12, sampler="random", no_references=True)
    while parts.candidates().to_do:
        for _, _ in zip(work(parts.candidates()), range(3), strict=False):
            pass  # three steps, then another process
    assert [r.key for r in whole.run.candidates] == [r.key for r in parts.run.candidates]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_go_on_after_trials_that_failed_or_were_stopped(
    sampler: str, space: Space, table: CostTable, tmp_path: Path
) -> None:
    box = Sandbox(space, table, tmp_path, trials=30, sampler=sampler, no_references=True)
    candidates, kinds = box.candidates(), [Status.FAILED, Status.STOPPED]
    while (candidate := candidates.suggest()) is not None:
        kind = kinds[int(candidate.name) % 2]
        candidates.update(candidate.name, Report(status=kind, reason="made up"))
    check(box, 30)


def test_the_rule_stops_candidates_not_references(
    space: Space, table: CostTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STOPPING, "always", lambda problem: lambda running, ended: f"after {len(ended)}")
    candidates = Sandbox(space, table, tmp_path, trials=1, stop="always").candidates()
    report = Report(accuracy=0.5, loss_by_epoch=(1.0,))
    while (candidate := candidates.suggest()) is not None:
        reason = candidates.stops(candidate.name, report)
        assert (reason is None) == candidate.is_reference
        assert candidates.stops(candidate.name, Report(status=Status.FINISHED, accuracy=0.5)) is None
        candidates.update(candidate.name, judged(candidate))


def test_samplers_learn_what_a_stopped_trial_would_have_come_to(
    space: Space, table: CostTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the curves of the latest that were finished; the same in a process that knows the files alone."""
    monkeypatch.setattr(nas.curves, "LATEST", 9)
    box = Sandbox(space, table, tmp_path, trials=15, sampler="random", no_references=True)
    candidates, learned = box.candidates(), []
    for i in range(15):
        candidate = candidates.suggest()
        accuracy = 0.8 + 0.01 * i
        start, shown = accuracy - 0.2 + 0.001 * (i * i % 5), accuracy - 0.1 + 0.001 * (i % 3)
        curve = {"initial_accuracy": start, "accuracy_by_epoch": (shown,), "loss_by_epoch": (1.0,)}
        status = Status.STOPPED if i in (2, 12) else Status.FINISHED
        candidates.update(candidate.name, Report(status=status, accuracy=accuracy, **curve))
    for process in (candidates, box.candidates()):
        trials = process.memory._study.get_trials()
        learned.append([(t.state, t.values) for t in trials])
        assert trials[2].state is TrialState.PRUNED  # too few had finished
        assert trials[12].state is TrialState.COMPLETE
        assert trials[12].values[0] == pytest.approx(0.92, abs=0.005)
        assert trials[12].values[1] == box.run.candidates[12].costs["flops"]
    assert learned[0] == learned[1]
