"""What happens to trials, without Ray: who is stopped, what a failure means for the others, where the time went."""

from dataclasses import dataclass, field

import pytest

from nas.run.watch import Watch
from nas.tune import conductor as module
from nas.tune.conductor import FEW, Conductor
from trainers.report import Report, Status


@dataclass
class Named:
    name: str


@dataclass
class Queue:
    """Stands for ``Candidates``, which has tests of its own: so many candidates, and what was said of them."""

    left: int = 100
    stopping: str | None = None
    disk_error: OSError | None = None
    updates: list[tuple[str, Report]] = field(default_factory=list)

    def suggest(self) -> Named | None:
        self.left -= 1
        return Named(str(self.left)) if self.left >= 0 else None

    def stops(self, name: str, report: Report) -> str | None:
        return None if report.status.is_final else self.stopping

    def update(self, name: str, report: Report) -> Report | None:
        self.updates.append((name, report))
        return report


@dataclass
class Lines(Watch):
    said_lines: list[str] = field(default_factory=list)

    def said(self, text: str) -> None:
        self.said_lines.append(text)


def running(seconds: float = 1.0) -> Report:
    return Report(accuracy=0.5, loss_by_epoch=(1.0,), step_s=seconds)


def finished() -> Report:
    return Report(status=Status.FINISHED, accuracy=0.5, loss_by_epoch=(1.0, 1.0), step_s=1.0)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def conductor(queue: Queue) -> Conductor:
    made = Conductor(queue, lambda record: None, Lines())
    for trial in "ab":
        made.begin(trial)
    return made


def test_time_in_training_is_what_this_process_saw(conductor: Conductor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the pause before a resume, which trials' own times would count; and no clock that someone may set back."""
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    monkeypatch.setattr(module.time, "time", lambda: -5.0)  # nobody may ask it
    old = Report(accuracy=0.5, started=-1e9, ended=0.0, train_s=9e9, step_s=4.0, loss_by_epoch=(1.0,))
    conductor.heard("a", old)
    now = 1004.0
    conductor.heard("b", running(5.0))
    assert conductor.spent_s == 9.0
    assert conductor.span_s == 8.0  # from the beginning of the first step that was reported


def test_a_stopped_trial_is_recorded_as_one(conductor: Conductor, queue: Queue) -> None:
    assert not conductor.heard("a", running())
    queue.stopping = "it can't matter any more"
    assert conductor.heard("a", running())
    conductor.completed("a")
    ((_, report),) = queue.updates
    assert (report.status, report.reason) == (Status.STOPPED, "it can't matter any more")
    assert not conductor.heard("b", finished())  # what has ended is not stopped


def test_a_trial_that_ctrl_c_ends_is_not_recorded(conductor: Conductor, queue: Queue) -> None:
    conductor.heard("a", running())
    conductor.completed("a")
    conductor.completed("b")
    assert queue.updates == []


def test_a_trial_whose_process_died_for_good_is_recorded_with_its_last_epochs(
    conductor: Conductor, queue: Queue
) -> None:
    conductor.heard("a", running())
    conductor.failed("a", "Traceback\n  somewhere\nRuntimeError: lost\n")
    ((_, report),) = queue.updates
    assert (report.status, report.reason, report.accuracy) == (Status.FAILED, "RuntimeError: lost", None)
    assert report.epoch == 1


def test_deaths_without_any_report_are_hopeless_after_a_few(conductor: Conductor) -> None:
    for i in range(FEW):
        assert not conductor.over
        conductor.died("ab"[i % 2], "ModuleNotFoundError: No module named 'x'")
    assert conductor.hopeless.endswith("ModuleNotFoundError: No module named 'x'")
    assert conductor.begin("c") is None


def test_a_node_that_is_lost_is_not_hopeless(queue: Queue) -> None:
    """Sixteen trials die at once in the middle of a search of 64, and go on elsewhere."""
    conductor = Conductor(queue, lambda record: None, Lines())
    for i in range(64):
        conductor.begin(str(i))
    conductor.heard("0", running())
    for i in range(16):
        conductor.died(str(i), "the node was lost")
    assert not conductor.over


def test_deaths_of_all_again_and_again_are_hopeless_even_later(conductor: Conductor) -> None:
    conductor.heard("a", running())
    for i in range(5):
        conductor.died("ab"[i % 2], "out of memory")
    conductor.heard("b", running())  # some progress: counted anew
    for i in range(6):
        assert not conductor.over
        conductor.died("ab"[i % 2], "out of memory")
    assert "6 times in a row" in conductor.hopeless


def test_failures_of_the_first_few_are_hopeless_and_later_ones_are_not(queue: Queue) -> None:
    failed = Report(status=Status.FAILED, reason="the loss is nan")
    hopeless, later = (Conductor(queue, lambda record: None, Lines()) for _ in range(2))
    for i, trial in enumerate("abcdefgh"):
        for conductor in (hopeless, later):
            if conductor.begin(trial):
                conductor.heard(trial, finished() if conductor is later and i == 0 else failed)
                conductor.completed(trial)
    assert hopeless.hopeless == f"the first {FEW} trials all failed, the last by: the loss is nan"
    assert not later.over


def test_a_display_that_breaks_costs_no_record(queue: Queue) -> None:
    """Records, checkpoints and copies come before anyone who watches."""
    order: list[str] = []

    class Broken(Watch):
        def ended(self, record: object) -> None:
            order.append("watched")
            raise RuntimeError("the terminal is gone")

    conductor = Conductor(queue, lambda record: order.append("kept"), Broken())
    conductor.begin("a")
    conductor.heard("a", finished())
    with pytest.raises(RuntimeError, match="the terminal is gone"):
        conductor.completed("a")
    assert (len(queue.updates), order) == (1, ["kept", "watched"])
