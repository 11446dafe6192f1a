"""Trials on Ray Tune: its searcher, stopper and callback, each a few lines around the conductor."""

import json
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher
from rich.text import Text

from trainers.judges.base import Judge

from ..candidates import Candidate
from ..record import Record
from .conductor import Conductor
from .trial import Trial

PLACES_S = 1.0  # how old the number of places may be
RESTARTS = 10  # of a trial whose process died: killed, out of memory, its node lost


@dataclass(frozen=True)
class Work:
    """What is to be run.

    Args:
        run: the run's name, for the dashboard. ``stage`` tells its checkpoints from another stage's.
        trials: how many are still to end.
        resources: of one trial: ``cpu`` and ``gpu``.
        checkpoints: a folder that all trials reach, or ``None``.
        at_once: trials at a time, as many as the cluster holds whenever it is asked.
        grows: whether the cluster may grow: one trial more than it holds is always waiting then, so that an autoscaler
            sees that more are wanted.
    """

    run: str
    stage: str
    judge: Judge
    trials: int
    resources: Mapping[str, float]
    checkpoints: str | None
    at_once: Callable[[], int]
    grows: bool


def run_trials(work: Work, conductor: Conductor) -> None:
    """Until nothing is to do, or nothing more can be done; Ctrl-C ends it early.

    Tune keeps nothing that we need: proposals, results and checkpoints are in the run's folder.
    """
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000000")  # Tune's own snapshot: nobody reads it
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "100000")  # how many wait is the searcher's business, below
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a process that died is said in a line of ours
    with_judge = tune.with_parameters(Trial, judge=work.judge, checkpoints=work.checkpoints)
    trainable = tune.with_resources(with_judge, dict(work.resources))
    trainable.__name__ = trainable.__qualname__ = f"{work.run}, {work.stage}"  # what the dashboard calls its actors
    scratch_folder = tempfile.TemporaryDirectory(prefix="layerwise-nas-", ignore_cleanup_errors=True)
    with ctrl_c_kept(), scratch_folder as scratch:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=_Searcher(conductor, work),
                num_samples=work.trials,
                reuse_actors=True,
                trial_name_creator=partial(_shown_name, work.run),
                trial_dirname_creator=attrgetter("trial_id"),
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                verbose=0,
                callbacks=[_Events(conductor)],
                stop=_Stopper(conductor),
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        ).fit()


@contextmanager
def ctrl_c_kept() -> Iterator[None]:
    """What Ctrl-C does, as it was: Tune leaves its own handler behind, by which the next one would do nothing."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def checkpoint_name(stage: str, judged: Candidate | Record) -> str:
    """Of one judging, without its folder and ending; the name of its record too."""
    return f"{stage}-{judged.key}-{judged.seed}"


def _shown_name(run: str, trial: Any) -> str:
    """In the dashboard. (Tune pickles it for each trial: it must not drag the run along.)"""
    return f"{run}_{trial.trial_id}"


class _Searcher(Searcher):
    def __init__(self, conductor: Conductor, work: Work) -> None:
        super().__init__(metric="accuracy", mode="max")
        self.conductor, self.work = conductor, work
        self._room, self._asked = 0, float("-inf")

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """``None`` where there is no place for another trial now: Tune asks again."""
        if len(self.conductor.names) >= self._places():
            return None
        candidate = self.conductor.begin(trial_id)
        if candidate is None:
            return Searcher.FINISHED
        text = json.dumps(candidate.architecture.to_dict())  # Tune keeps it: nested dicts would be large
        file = checkpoint_name(self.work.stage, candidate)
        return {"architecture": text, "name": candidate.name, "file": file, "seed": candidate.seed}

    def _places(self) -> int:
        """Trials that may be open; the cluster is not asked at every turn of Tune's loop."""
        if time.monotonic() - self._asked > PLACES_S:
            self._room, self._asked = self.work.at_once() + self.work.grows, time.monotonic()
        return self._room

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if not error:  # of errors, ``_Events`` is told with their reason
            self.conductor.completed(trial_id)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles it for a restore that we never ask for."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""


class _Stopper(tune.Stopper):
    def __init__(self, conductor: Conductor) -> None:
        self.conductor = conductor

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Every result comes by here first."""
        return "report" in result and self.conductor.heard(trial_id, result["report"])

    def stop_all(self) -> bool:
        return self.conductor.over

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as above."""
        return {}


class _Events(tune.Callback):
    def __init__(self, conductor: Conductor) -> None:
        self.conductor = conductor

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.conductor.started(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.conductor.died(trial.trial_id, _error(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.conductor.failed(trial.trial_id, _error(trial))
        slim(trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        slim(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as above."""
        return {}


def _error(trial: Any) -> str:
    """What Tune wrote of a trial's failures, the latest last."""
    file = trial.error_file
    text = Path(file).read_text(encoding="utf-8", errors="replace") if file and Path(file).exists() else ""
    return str(Text.from_ansi(text).plain)


def slim(trial: Any) -> None:
    """Drop what Tune keeps of a trial that has ended: 10,000 fit into memory.

    Results, statistics and parameters are 40 KB; the snapshot at the end, which nobody reads, is 80 KB more.
    """
    last_result = trial.last_result
    for kept in (last_result, trial.metric_analysis, trial.metric_n_steps, trial.config, trial.evaluated_params):
        kept.clear()
    last_result["done"] = True  # without any result Tune would ask the trial's process for one
    trial.experiment_tag = ""
    trial.get_json_state = _no_state


def _no_state() -> tuple[str, str]:
    return "null", "null"
