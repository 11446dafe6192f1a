"""Trainings and measurements take turns on a device, across processes that may die at any moment."""

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import pytest
import torch

from trainers import turns
from trainers.turns import give_way, measuring_on, training_on

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no flock")
CPU = torch.device("cpu")
FORK = multiprocessing.get_context("fork")  # torch is there already: a process begins in milliseconds
SOON_S, LONG_S = 0.3, 20.0


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else trains on this machine stays out of it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


Start = Callable[..., tuple[BaseProcess, "Synchronized[int]"]]


@pytest.fixture
def start() -> Iterator[Start]:
    """``start(do)`` runs ``do(counter)`` in a process, and returns that and the counter once it is above 0."""
    begun: list[BaseProcess] = []

    def begin(do: Callable[["Synchronized[int]"], None], wait: bool = True) -> tuple[BaseProcess, "Synchronized[int]"]:
        counter = FORK.Value("i", 0)
        process = FORK.Process(target=do, args=(counter,), daemon=True)
        process.start()
        begun.append(process)
        if wait:
            until(lambda: counter.value > 0)
        return process, counter

    yield begin
    for process in begun:
        process.kill()
        process.join()


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.002)


def train(counter: "Synchronized[int]") -> None:
    """A step each millisecond."""
    with training_on(CPU):
        while True:
            counter.value += 1
            time.sleep(0.001)
            give_way()


def hang(counter: "Synchronized[int]") -> None:
    """A training that never gives way."""
    with training_on(CPU):
        counter.value = 1
        time.sleep(LONG_S)


def measure(counter: "Synchronized[int]") -> None:
    """Without end; counted is that it is alone."""
    with measuring_on(CPU, LONG_S) as alone:
        counter.value = int(alone)
        time.sleep(LONG_S)


def stands(*counters: "Synchronized[int]") -> bool:
    before = [counter.value for counter in counters]
    time.sleep(SOON_S)
    return before == [counter.value for counter in counters]


@pytest.mark.parametrize("trainings", [1, 3])
def test_trainings_stand_still_while_somebody_measures_and_go_on_then(start: Start, trainings: int) -> None:
    counters = [start(train)[1] for _ in range(trainings)]
    with measuring_on(CPU, LONG_S) as alone:
        assert alone
        assert stands(*counters)
    before = [counter.value for counter in counters]
    until(lambda: all(counter.value > old for counter, old in zip(counters, before, strict=True)))


def test_a_training_that_begins_meanwhile_waits(start: Start) -> None:
    with measuring_on(CPU, LONG_S):
        _, counter = start(train, wait=False)
        time.sleep(SOON_S)
        assert counter.value == 0
    until(lambda: counter.value > 0)


def test_a_measurement_that_is_killed_holds_nobody_up(start: Start) -> None:
    _, counter = start(train)
    measuring, _ = start(measure)
    assert stands(counter)
    measuring.kill()
    before = counter.value
    until(lambda: counter.value > before)


def test_a_training_that_is_killed_lets_the_measurement_in(start: Start) -> None:
    hung, _ = start(hang)
    _, alone = start(measure, wait=False)
    time.sleep(SOON_S)
    assert alone.value == 0
    hung.kill()
    until(lambda: alone.value == 1)


def test_a_training_that_never_gives_way_is_waited_for_no_longer_than_asked(start: Start) -> None:
    start(hang)
    _, counter = start(train)
    with measuring_on(CPU, SOON_S) as alone:
        assert not alone
        assert stands(counter)  # those that do give way are out of the way all the same


def test_measurements_come_one_after_another(start: Start) -> None:
    with measuring_on(CPU, LONG_S):
        _, second = start(measure, wait=False)
        time.sleep(SOON_S)
        assert second.value == 0
        with measuring_on(CPU, 0.0) as alone:  # within the first: the first
            assert alone
    until(lambda: second.value == 1)
    with measuring_on(CPU, 0.0) as alone:
        assert not alone


def test_a_training_may_measure_and_takes_its_place_again(start: Start) -> None:
    _, other = start(train)
    with training_on(CPU), training_on(CPU):
        with measuring_on(CPU, LONG_S) as alone, training_on(CPU):
            assert alone
            give_way()
            assert stands(other)
        _, measuring = start(measure, wait=False)
        time.sleep(SOON_S)
        assert measuring.value == 0  # it is in the room again
        give_way_until(lambda: measuring.value == 1)


def give_way_for_ever() -> None:
    while True:
        give_way()


def give_way_until(holds: Callable[[], bool]) -> None:
    """``give_way`` returns when the other has measured: it is interrupted."""

    def interrupt(*_: object) -> None:
        assert holds()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            give_way_for_ever()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_measurement_that_was_stopped_holds_trainings_up_for_a_while_only(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "LONGEST_MEASUREMENT_S", 3 * SOON_S)
    _, counter = start(train)
    measuring, _ = start(measure)
    assert measuring.pid is not None
    os.kill(measuring.pid, signal.SIGSTOP)
    assert stands(counter)
    before = counter.value
    until(lambda: counter.value > before)
    assert not stands(counter)  # and not for as long again after each step


def test_devices_have_turns_of_their_own(start: Start) -> None:
    start(hang)
    with measuring_on(torch.device("meta"), 0.0) as alone:
        assert alone


def test_without_training_and_without_a_folder_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_way()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with measuring_on(CPU, 0.0) as alone, training_on(CPU):
        assert alone
        give_way()


def test_the_files_are_the_users_own(tmp_path: Path) -> None:
    with training_on(CPU):
        files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"layerwise-nas-{os.getuid()}-cpu.{part}" for part in ("gate", "room")]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
