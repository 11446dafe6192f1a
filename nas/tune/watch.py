"""What a user sees while a search runs: a line per finished trial, and where the running ones are."""

import time
from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ..budget import show
from ..run.copy import Mirror
from ..run.ledger import Record

HEARTBEAT_S = 10.0


class Watch(Callback):
    """Tune's events as lines. ``record_of`` finds the record of a trial that ended; ``failed`` is told of failures.

    ``forget`` drops the checkpoint of a trial whose record is on disk.
    """

    def __init__(
        self,
        console: Console,
        total: int,
        record_of: Callable[[str], Record | None],
        failed: Callable[..., None],
        forget: Callable[[Record], None],
        mirror: Mirror | None = None,
    ) -> None:
        self.mirror, self.forget = mirror, forget
        self.said: set[str] = set()
        self.console, self.total, self.record_of, self.failed = console, total, record_of, failed
        self.running: dict[str, str] = {}
        self.last_line = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task("waiting for the first epoch", total=total)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that we never ask for."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.trial_id not in self.running:
            self.running[trial.trial_id] = f"{trial.config['name']} starts"
            self._status(force=len(self.running) == 1)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        text = f"{trial.config['name']} epoch {result['epoch']} {result['accuracy']:.1%}"
        self.running[trial.trial_id] = text
        if result.get("unwritten"):
            self._once(f"a checkpoint can't be written, trials go on without: {result['unwritten']}")
        self._status()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._print(f"{trial.config['name']}: its process died; it goes on in another")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        traceback = Text.from_ansi(str(trial.get_error() or "no error was recorded")).plain
        reason = traceback.strip().splitlines()[-1]
        self.failed(trial.trial_id, trial.last_result or {}, reason, traceback)
        self._ended(trial)

    def _ended(self, trial: Any) -> None:
        self.running.pop(trial.trial_id, None)
        self.bar.advance(self.task)
        if self.mirror:
            self.mirror.sync()
            if self.mirror.problem:
                self._once(f"the copy at --storage is behind: {self.mirror.problem}")
        record = self.record_of(trial.trial_id)
        if record is None:
            return
        slim(trial)
        self.forget(record)
        costs = (
            f"{show('flops', record.flops)}, {show('params', record.params)}, {show('latency_ms', record.latency_ms)}"
        )
        if record.status == "failed":
            self._print(f"{record.name}: failed: {record.reason}")
            return
        assert record.accuracy is not None
        self._print(f"{record.name}: accuracy {record.accuracy:.1%}, {costs}, {record.train_s or 0:.0f} s")

    def _status(self, force: bool = False) -> None:
        """On a terminal the bar says it; elsewhere a line now and then."""
        text = " | ".join(self.running.values())
        self.bar.update(self.task, description=text)
        if not self.console.is_terminal and (force or time.monotonic() - self.last_line > HEARTBEAT_S):
            self._print(f"  running: {text}")

    def _once(self, text: str) -> None:
        if text not in self.said:
            self.said.add(text)
            self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)
        self.last_line = time.monotonic()


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
