"""What happens to trials, without Ray: who is stopped, what a failure means for the others, where the time went."""

from dataclasses import dataclass, field, replace

import pytest

from nas.tune import conductor as module
from nas.tune.conductor import FEW, Conductor
from nas.watch.watch import Several, Watch
from search_spaces.checks import BadInput
from trainers.cluster.connection import Cluster
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
    any_finished: bool = False
    to_do: int = 0
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


ONE = "cpu, 1 thread(s)"


@pytest.mark.parametrize(
    ("cpu_s", "device", "said"),
    [(5.0, ONE, True), (29.0, ONE, False), (5.0, "NVIDIA H100", False), (None, ONE, False)],
)
def test_starved_trials_are_said(conductor: Conductor, cpu_s: float | None, device: str, said: bool) -> None:
    """Far less of the processor's time than of the clock's; a GPU's training takes little of a CPU anyway."""
    conductor.heard("a", replace(running(), train_s=30.0, cpu_s=cpu_s, device=device))
    assert any("starved" in line for line in conductor.watch.said_lines) == said


def test_time_in_training_is_what_this_process_saw(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the pause before a resume, which trials' own times would count; and no clock that someone may set back."""
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    monkeypatch.setattr(module.time, "time", lambda: -5.0)  # nobody may ask it
    conductor = Conductor(queue, lambda record: None, Lines())
    conductor.begin("a")
    now = 1050.0  # Ray starts
    conductor.started("a")
    now = 1060.0
    conductor.heard("a", Report(accuracy=0.5, started=-1e9, ended=0.0, train_s=9e9, step_s=9.0, loss_by_epoch=(1.0,)))
    conductor.begin("b")
    conductor.started("b")  # another node has joined
    now = 1070.0
    conductor.heard("a", replace(finished(), step_s=10.0))
    conductor.completed("a")
    now = 1075.0
    conductor.died("b", "lost")
    now = 1080.0  # it waits for a place
    conductor.started("b")
    now = 1090.0
    conductor.heard("b", replace(finished(), step_s=8.0))
    conductor.completed("b")
    assert conductor.spent_s == 27.0
    assert conductor.running_s == 20 + 15 + 10


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
    conductor.heard("b", finished())
    conductor.completed("b")
    conductor.heard("a", running())
    conductor.failed("a", "Traceback\n  somewhere\nRuntimeError: lost\n")
    (_, (_, report)) = queue.updates
    assert (report.status, report.reason, report.accuracy) == (Status.FAILED, "RuntimeError: lost", None)
    assert report.epoch == 1


def test_deaths_without_any_report_are_hopeless_after_a_few(conductor: Conductor) -> None:
    for i in range(FEW):
        assert not conductor.over
        conductor.died("ab"[i % 2], "ModuleNotFoundError: No module named 'x'")
    assert conductor.hopeless.endswith("ModuleNotFoundError: No module named 'x'")
    assert conductor.begin("c") is None


def test_one_candidate_that_kills_its_process_is_not_everyones_fault(queue: Queue) -> None:
    """With one trial at a time: it is recorded after its ten restarts, and the others go on."""
    queue.any_finished = True
    conductor = Conductor(queue, lambda record: None, Lines())
    conductor.begin("a")
    for _ in range(10):
        conductor.died("a", "killed")
    conductor.failed("a", "killed")
    assert not conductor.over
    assert [report.status for _, report in queue.updates] == [Status.FAILED]


def test_a_node_that_is_lost_is_not_hopeless(queue: Queue) -> None:
    """Sixteen trials die at once in the middle of a search of 64, and go on elsewhere."""
    conductor = Conductor(queue, lambda record: None, Lines())
    for i in range(64):
        conductor.begin(str(i))
    conductor.heard("0", running())
    for i in range(16):
        conductor.died(str(i), "the node was lost")
    assert not conductor.over


def test_deaths_of_all_again_and_again_are_hopeless_even_later(queue: Queue) -> None:
    conductor = Conductor(queue, lambda record: None, Lines())
    for trial in "abcd":
        conductor.begin(trial)
    conductor.heard("a", running())
    for i in range(11):
        conductor.died("abcd"[i % 4], "out of memory")
    conductor.heard("b", running())  # some progress: counted anew
    for i in range(12):
        assert not conductor.over
        conductor.died("abcd"[i % 4], "out of memory")
    assert "12 times without a report: out of memory" in conductor.hopeless


FAILED = Report(status=Status.FAILED, reason="the loss is nan")


def end(conductor: Conductor, trial: str, report: Report) -> None:
    if conductor.begin(trial):
        conductor.heard(trial, report)
        conductor.completed(trial)


def test_where_all_fail_alike_none_is_recorded(conductor: Conductor, queue: Queue) -> None:
    """So that all are tried again when the cause is mended, the references too."""
    for trial in "cdefgh":
        end(conductor, trial, FAILED)
    conductor.settle()
    assert conductor.hopeless == f"the first {FEW} trials all failed, the last by: the loss is nan"
    assert queue.updates == []


def test_first_failures_are_recorded_with_the_first_success(conductor: Conductor, queue: Queue) -> None:
    end(conductor, "c", FAILED)
    end(conductor, "d", FAILED)
    assert queue.updates == []
    end(conductor, "e", finished())
    assert [r.status for _, r in queue.updates] == [Status.FAILED, Status.FAILED, Status.FINISHED]
    for trial in "fghijk":
        end(conductor, trial, FAILED)
    assert not conductor.over
    assert len(queue.updates) == 9


def test_failures_of_a_short_run_are_recorded_at_its_end(conductor: Conductor, queue: Queue) -> None:
    end(conductor, "c", FAILED)
    queue.to_do = 1
    conductor.settle()
    assert [r.status for _, r in queue.updates] == [Status.FAILED]


def test_first_failures_are_tried_again_after_ctrl_c(conductor: Conductor, queue: Queue) -> None:
    """Nobody knows yet whether it is them: others are left to do."""
    end(conductor, "c", FAILED)
    queue.to_do = 5
    conductor.settle()
    assert queue.updates == []


def test_a_display_that_breaks_costs_nothing(queue: Queue) -> None:
    """A terminal that is gone: records are written, and the search goes on."""

    class Broken(Watch):
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError("the terminal is gone")

    kept: list[object] = []
    conductor = Conductor(queue, kept.append, Several([Broken()]))
    for trial in "abc":
        end(conductor, trial, finished())
    assert len(queue.updates) == len(kept) == 3


@pytest.mark.parametrize(("cpu", "gpu", "expected"), [(1, 0, 5), (2, 0, 2), (1, 0.5, 2), (1, 1, 1)])
def test_trials_at_once_fit_on_their_nodes(
    cpu: float, gpu: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes of two CPUs and one of one with a GPU, which are five CPUs, and no place for one trial of three."""
    nodes = [{"CPU": 2.0}, {"CPU": 2.0, "GPU": 1.0}, {"CPU": 1.0}]
    alive = [{"Alive": True, "Resources": node} for node in nodes]
    dead = {"Alive": False, "Resources": {"CPU": 64.0}}
    monkeypatch.setattr("ray.nodes", lambda: [*alive, dead])
    cluster = Cluster("", joined=True)
    assert cluster.trials_at_once({"cpu": cpu, "gpu": gpu}) == expected
    with pytest.raises(BadInput, match="a trial wants 3 CPU, and no node of Ray has more than 2"):
        cluster.trials_at_once({"cpu": 3.0, "gpu": 0.0})
