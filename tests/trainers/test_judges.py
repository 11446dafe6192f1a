"""The contract of every judge: reports that add up, one seed one verdict, checkpoints, and a way to the workers."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from search_spaces import Architecture, Backbone, Choice, proxy_of
from trainers.data.digits_on_photos import load
from trainers.judges import JUDGES
from trainers.judges.base import Judge, Judging, Setting
from trainers.recipe import Recipe
from trainers.report import Report, Status

TARGET = Architecture(
    Backbone("resnet20", 10, 32), (("layer3.0.conv2", Choice.of("spconv", alpha=0.5, groups=2)),)
).to_dict()


@pytest.fixture(scope="module")
def setting() -> Setting:
    data = load(None, 24)
    data = replace(data, validation=data.validation[:128], test=data.test[:64])
    parent, _ = proxy_of(Architecture(Architecture.from_dict(TARGET).backbone), width=0.5, resolution=24, classes=10)
    torch.manual_seed(0)
    return Setting(data, Recipe(epochs=3, images_per_epoch=96), 0.5, 24, "cpu", 1, parent.build().state_dict())


@pytest.fixture(params=JUDGES)
def judge(request: pytest.FixtureRequest, setting: Setting) -> Judge:
    """As a worker has it: pickled where the search runs."""
    return pickle.loads(pickle.dumps(JUDGES[request.param](setting)))


def judged(judging: Judging) -> list[Report]:
    reports = [judging.step()]
    while not reports[-1].status.is_final:
        reports.append(judging.step())
    return reports


def same(reports: list[Report]) -> list[tuple[object, ...]]:
    """What does not depend on when and how fast."""
    return [(r.status, r.accuracy, r.test_accuracy, r.accuracy_by_epoch, r.loss_by_epoch) for r in reports]


def test_reports_add_up(judge: Judge) -> None:
    reports = judged(judge.begin(TARGET, None, 0))
    last = reports[-1]
    assert [r.status for r in reports] == [Status.RUNNING] * (len(reports) - 1) + [Status.FINISHED]
    assert [r.epoch for r in reports] == list(range(last.epoch - len(reports) + 1, last.epoch + 1))
    assert reports[0].epoch == (0 if reports[0].initial_accuracy is not None else 1)
    assert last.accuracy == last.accuracy_by_epoch[-1]
    assert 0 <= last.test_accuracy <= 1
    assert last.train_s == pytest.approx(sum(r.step_s for r in reports))
    assert last.started <= last.starts[0] <= last.ended
    assert (last.micro_batches, last.unwritten, last.reason) == (1, None, None)
    assert all(r.test_accuracy is None for r in reports[:-1])


def test_one_seed_one_verdict(judge: Judge) -> None:
    first, again = (judged(judge.begin(TARGET, None, 0)) for _ in range(2))
    assert same(first) == same(again)


def test_another_process_goes_on_from_the_checkpoint(judge: Judge, tmp_path: Path) -> None:
    whole = judged(judge.begin(TARGET, None, 0))
    file = str(tmp_path / "checkpoints" / "a.pt")
    begun = judge.begin(TARGET, file, 0)
    parts = [begun.step()]
    rest = judged(judge.begin(TARGET, file, 0))
    assert same(parts + rest) == same(whole)
    assert len(rest[-1].starts) == 2
    assert rest[-1].started == parts[0].started
    assert rest[-1].train_s == pytest.approx(sum(r.step_s for r in parts + rest))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["a.pt"]


def test_one_that_died_after_its_last_epoch_is_scored_without_another(judge: Judge, tmp_path: Path) -> None:
    file = str(tmp_path / "a.pt")
    whole = judged(judge.begin(TARGET, file, 0))
    (again,) = judged(judge.begin(TARGET, file, 0))
    assert same([again]) == same(whole[-1:])


def test_what_can_not_be_trained_says_why(judge: Judge, setting: Setting) -> None:
    (name,) = (name for name, make in JUDGES.items() if type(make(setting)) is type(judge))
    broken = replace(setting, data=replace(setting.data, mean=(0.0, 0.0)))  # for three channels
    (report,) = judged(JUDGES[name](broken).begin(TARGET, None, 0))
    assert (report.status, report.accuracy) == (Status.FAILED, None)
    assert "Error" in report.reason
    assert "normalise" in report.traceback


def test_a_checkpoint_that_can_not_be_written_is_said_and_training_goes_on(judge: Judge) -> None:
    reports = judged(judge.begin(TARGET, "/proc/nothing/a.pt", 0))
    assert reports[-1].status is Status.FINISHED
    assert all("/proc/nothing/a.pt" in r.unwritten for r in reports)


def test_who_inherits_starts_from_the_parent(setting: Setting) -> None:
    """A vanilla candidate is the parent itself; every other has all of its layers but those that are replaced."""
    vanilla = {**TARGET, "layers": {}}
    model = JUDGES["inherited"](setting).begin(vanilla, None, 7).training.model
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in setting.parent.items())
    other = JUDGES["inherited"](setting).begin(TARGET, None, 7).training.model
    assert torch.equal(other.conv1.weight, setting.parent["conv1.weight"])
    assert JUDGES["inherited"](setting).begin(TARGET, None, 7).step().initial_accuracy is not None
    afresh = JUDGES["scratch"](replace(setting, parent=None)).begin(TARGET, None, 7)
    assert not torch.equal(afresh.training.model.conv1.weight, setting.parent["conv1.weight"])
    assert afresh.step().initial_accuracy is None


def test_a_batch_that_needed_parts_is_marked(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory in the first step: it goes on in two parts, and says so to the end."""
    judging = JUDGES["scratch"](replace(setting, parent=None)).begin(TARGET, None, 0)
    monkeypatch.setattr(judging.training, "run_epoch", _no_memory)  # of this one alone, not of the next that is built
    reports = judged(judging)
    assert [r.micro_batches for r in reports] == [2] * 3
    assert reports[-1].status is Status.FINISHED


def _no_memory() -> None:
    raise torch.OutOfMemoryError("made up")
