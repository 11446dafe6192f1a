"""The ledger and its lock against crashes, damage, a full disk and a second writer; the front."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.front import pareto_front
from nas.metrics import METRICS
from nas.record import Record, record_from
from nas.run.journal import TornWarning
from nas.run.ledger import Ledger, read_ledger
from nas.run.lock import locked
from search_spaces import Architecture, load_space
from search_spaces.checks import BadInput
from trainers.report import Status

from ..disks import small_disk


@cache
def some_architecture() -> Architecture:
    return load_space("mixed_resnet20").architecture([0] * 18)


def record(name: str, accuracy: float | None, flops: int, latency_ms: float, status: str = "finished") -> Record:
    architecture = some_architecture()
    return Record(
        name=name,
        key=architecture.key,
        status=Status(status),
        architecture=architecture.to_dict(),
        costs={"flops": flops, "params": 10, "latency_ms": latency_ms},
        accuracy=accuracy,
        seed=0,
    )


def test_a_ledger_reads_back_what_was_appended(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    written = [
        replace(record("a", 0.5, 100, 1.5), accuracy_by_epoch=(0.1, 0.5), started=1.0, ended=2.0),
        replace(record("b", None, 100, 1.5, "failed"), reason="diverged"),
    ]
    for r in written:
        ledger.append(r)
    assert read_ledger(ledger.path) == ledger.records == written
    assert len(ledger.path.read_text().splitlines()) == 2
    assert read_ledger(ledger.path)[0].built_architecture().key == written[0].key


def test_a_ledger_of_the_first_format_is_read() -> None:
    """A line as it was written before ledgers had a format number."""
    line = (
        '{"trial": "ab12", "key": "k", "status": "finished", "architecture": {}, "flops": 100, "params": 10, '
        '"latency_ms": 1.5, "accuracy": 0.5, "test_accuracy": 0.4, "accuracy_by_epoch": [0.1, 0.5], '
        '"loss_by_epoch": [2.0, 1.0], "starts": [1.0], "substituted": [], "seed": 3, "name": "0007"}'
    )
    found = record_from(json.loads(line))
    assert found.costs == {"flops": 100, "params": 10, "latency_ms": 1.5}
    assert (found.name, found.status, found.epoch, found.seed) == ("0007", Status.FINISHED, 2, 3)


def test_a_ledger_of_a_later_format_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text('{"format": 5, "name": "a"}\n')
    with pytest.raises(BadInput, match=r"line 1: .* its format is 5, this version reads 1 to 4$"):
        read_ledger(path)


def test_a_status_says_whether_it_is_final() -> None:
    assert [s for s in Status if not s.is_final] == [Status.RUNNING]
    assert json.loads(json.dumps({"status": Status.STOPPED})) == {"status": "stopped"}


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    ledger.append(record("a", 0.5, 100, 1.5))
    whole = ledger.path.read_text()
    for damage in ('{"trial": "b"}\n', "{not JSON\n", "\n", '"a string"\n', "\0\0\0\n"):
        ledger.path.write_text(whole + damage + whole)
        with pytest.raises(BadInput, match=r"trials\.jsonl, line 2: "):
            Ledger.open(ledger.path)
        assert ledger.path.read_text() == whole + damage + whole  # it is not touched


@pytest.mark.parametrize("torn", [b'{"trial": "b", "fl', b"\0" * 100, b"{", b'{"trial": "\xc3'])
def test_a_torn_last_line_is_dropped_and_said(torn: bytes, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    ledger.append(record("a", 0.5, 100, 1.5))
    with ledger.path.open("ab") as file:
        file.write(torn)
    if torn.strip(b"\0"):
        with pytest.warns(TornWarning, match="line 2: torn"):
            again = Ledger.open(ledger.path)
    else:
        again = Ledger.open(ledger.path)
    again.append(record("b", 0.6, 100, 1.5))
    assert [r.name for r in read_ledger(ledger.path)] == ["a", "b"]


def test_a_last_line_that_lacks_its_end_only_is_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    ledger.append(record("a", 0.5, 100, 1.5))
    ledger.path.write_bytes(ledger.path.read_bytes()[:-1])
    again = Ledger.open(ledger.path)
    again.append(record("b", 0.6, 100, 1.5))
    assert [r.name for r in read_ledger(ledger.path)] == ["a", "b"]


def append_all(ledger: Ledger, records: list[Record]) -> None:
    for r in records:
        ledger.append(r)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_leaves_the_ledger_whole(tmp_path: Path) -> None:
    """A real one: a file system of 64 KiB."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        ledger = Ledger(disk / "trials.jsonl")
        fill = [replace(record("a", 0.5, 100, 1.5), name=str(i)) for i in range(100)]
        with pytest.raises(OSError, match="No space left"):
            append_all(ledger, fill)
        assert len(ledger.records) > 5
        assert ledger.path.read_bytes().endswith(b"}\n")  # nothing torn is left behind
        assert read_ledger(ledger.path) == ledger.records


def test_a_second_process_is_told_who_writes(tmp_path: Path) -> None:
    (tmp_path / "run" / "state").mkdir(parents=True)
    lock = tmp_path / "run" / "state" / "lock"
    code = (
        f"import sys, time; from pathlib import Path; from nas.run.lock import locked\n"
        f"with locked(Path({str(lock)!r})):\n  print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BadInput, match=f"is being written by process {holder.pid} on "), locked(lock):
            pass
    finally:
        holder.kill()
        holder.wait()
    with locked(lock):  # a SIGKILL released it
        assert f"process {os.getpid()} " in lock.read_text()


def test_the_front_is_what_nothing_dominates() -> None:
    good = record("good", 0.9, 100, 2.0)
    fast = record("fast", 0.8, 100, 1.0)
    slim = record("slim", 0.7, 50, 3.0)
    beaten = record("beaten", 0.8, 100, 2.0)
    twin = record("twin", 0.9, 100, 2.0)
    failed = record("failed", None, 1, 0.1, "failed")
    stopped = record("stopped", 0.99, 1, 0.1, "stopped")  # it had not ended: what it scored is no score
    front = pareto_front([slim, beaten, failed, stopped, fast, good, twin])
    assert [r.name for r in front] == ["good", "twin", "fast", "slim"]


def test_a_difference_that_is_noise_makes_no_front() -> None:
    """A network of 57% once stood beside one of 73%, since its latency was 0.2% lower."""
    good, poor = record("good", 0.73, 100, 2.0), record("poor", 0.57, 100, 1.996)
    assert pareto_front([poor, good]) == [good]
    fast = record("fast", 0.57, 100, 1.9)
    assert pareto_front([fast, poor, good]) == [good, fast]
    slim = record("slim", 0.57, 98, 2.0)
    assert pareto_front([slim, poor, good]) == [good, slim]


def test_of_those_that_noise_does_not_tell_apart_the_cheap_one_stands_on_the_front() -> None:
    best, dear, cheap = record("best", 0.73, 100, 2.0), record("dear", 0.729, 90, 2.0), record("cheap", 0.725, 80, 2.0)
    assert pareto_front([dear, best, cheap]) == [best, dear, cheap]
    assert pareto_front([dear, best, cheap], noise=0.01) == [best, cheap]
    assert pareto_front([dear, best, cheap], noise=0.001) == [best, dear, cheap]


def better(a: Record, b: Record, noise: float, exact: bool = False) -> bool:
    """Whether ``a`` is better than ``b`` in an objective by more than noise and resolution."""
    costs = [name for name in a.objectives if name != "accuracy"]
    cheaper = (a.costs[c] < b.costs[c] - (0 if exact else METRICS[c].resolution) * b.costs[c] for c in costs)
    return a.accuracy > b.accuracy + 2**0.5 * noise or any(cheaper)


entries = st.lists(
    st.tuples(st.integers(50, 60), st.integers(90, 110), st.integers(90, 110), st.booleans()), min_size=1, max_size=40
)


def records_of(rows: list[tuple[int, int, int, bool]]) -> list[Record]:
    """Integers, so that ties are frequent."""
    return [
        record(str(i), 0.01 * a, f, t / 50, "finished" if finished else "stopped")
        for i, (a, f, t, finished) in enumerate(rows)
    ]


@given(rows=entries, noise=st.sampled_from([0.0, 0.005, 0.01, 0.03, 0.2]))
@settings(max_examples=150, deadline=None)
def test_a_front_holds_whatever_is_better_by_more_than_noise(
    rows: list[tuple[int, int, int, bool]], noise: float
) -> None:
    records = records_of(rows)
    finished, front = [r for r in records if r.finished], pareto_front(records, noise)
    assert bool(front) == bool(finished)
    assert front == sorted(front, key=lambda r: -r.accuracy)
    for off in (r for r in finished if r not in front):
        assert any(not better(off, member, noise) for member in front)
    for i, member in enumerate(front):
        for other in front[:i]:  # of any two, one was there first, and the other is better than it in something
            twins = member.objectives == other.objectives
            assert twins or better(member, other, noise) or better(other, member, noise)
    if finished:
        assert front[0].accuracy == max(r.accuracy for r in finished)


@given(rows=entries)
@settings(max_examples=100, deadline=None)
def test_without_noise_or_resolution_it_is_the_pareto_front(rows: list[tuple[int, int, int, bool]]) -> None:
    records = records_of(rows)
    with pytest.MonkeyPatch.context() as patch:
        for name, metric in METRICS.items():
            patch.setitem(METRICS, name, replace(metric, resolution=0.0))
        front = pareto_front(records)
    finished = [r for r in records if r.finished]
    classical = {
        r.name
        for r in finished
        if all(better(r, o, 0, exact=True) or not better(o, r, 0, exact=True) for o in finished)
    }
    assert {r.name for r in front} == classical
