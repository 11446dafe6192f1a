"""What a sampler learns from: an Optuna study of the front, the unfinished and the latest trials."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from trainers.report import Status

from ..curves import expected
from ..metrics import directions, objectives
from ..record import Record
from .within_budget import WithinBudget

WINDOW = 400  # trials that a sampler learns from, besides the front: a proposal's time must not grow for ever
STATES = {
    Status.FINISHED: TrialState.COMPLETE,
    Status.STOPPED: TrialState.PRUNED,
    Status.FAILED: TrialState.FAIL,
}
Entry = Mapping[str, Any]


class Memory:
    """Ask and tell by a candidate's name, and recall what was asked and told in an earlier process.

    An ``Entry`` is a proposal as the run's journal has it: ``name``, ``params`` and Optuna's ``system_attrs`` (of
    NSGA-II its generation).

    Args:
        window: the trials that the sampler learns from, besides the front; ``None`` is all.
        errors: metric → the relative error of its prediction: a sampler learns of no finer difference.
    """

    def __init__(
        self, sampler: WithinBudget, window: int | None = WINDOW, errors: Mapping[str, float] | None = None
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sampler, self.window, self.errors = sampler, window, errors or {}
        self._study = optuna.create_study(directions=directions(), sampler=sampler)
        self._size = 0
        self._running: dict[str, int] = {}  # name → Optuna's number

    def ask(self) -> Entry:
        """The next proposal; its name is its number in the run.

        Raises:
            ExhaustedError: there is none.
        """
        self._shrink()
        trial = self._study.ask(self.sampler.distributions)
        name = f"{self.sampler.asked:04d}"
        self._running[name] = trial.number
        self._size += 1
        attrs = self._study.get_trials(deepcopy=False)[trial.number].system_attrs
        return {"name": name, "params": trial.params, "system_attrs": dict(attrs)}

    def tell(self, record: Record, before: Sequence[Record]) -> None:
        """How a candidate that was asked for has ended; ``before`` are the candidates that ended before it."""
        state, values = self._outcome(record, before)
        self._study.tell(self._running.pop(record.name), values, state)

    def recall(self, entry: Entry, record: Record | None, before: Sequence[Record] = ()) -> None:
        """A trial that another process asked for, or nobody; without a ``record`` it has not ended."""
        state, values = (TrialState.RUNNING, None) if record is None else self._outcome(record, before)
        trial = create_trial(
            state=state,
            values=values,
            params=dict(entry["params"]),
            distributions=self.sampler.distributions,
            system_attrs=dict(entry.get("system_attrs", {})),
        )
        self._shrink()
        self._study.add_trial(trial)
        if record is None:
            self._running[str(entry["name"])] = self._size
        self._size += 1

    def _shrink(self) -> None:
        """Now and then a study of the front, the unfinished and the latest trials takes the whole one's place."""
        if self.window is None or self._size < 2 * self.window:
            return
        front = {trial.number for trial in self._study.best_trials}
        running = set(self._running.values())
        kept = [
            trial
            for trial in self._study.get_trials(deepcopy=False)
            if trial.number in front or trial.number >= self._size - self.window or trial.number in running
        ]
        numbers = {trial.number: i for i, trial in enumerate(kept)}
        self._study = optuna.create_study(directions=directions(), sampler=self.sampler)
        self._study.add_trials(kept)
        self._size = len(kept)
        self._running = {name: numbers[number] for name, number in self._running.items()}

    def _outcome(self, record: Record, before: Sequence[Record]) -> tuple[TrialState, list[float] | None]:
        """What a sampler learns: of a trial that was stopped, what it would have come to, where that can be told."""
        if record.status is Status.STOPPED and (prediction := expected(record, before)) is not None:
            return TrialState.COMPLETE, self._values(objectives(prediction[0], record.costs))
        return STATES[record.status], self._values(record.objectives) if record.finished else None

    def _values(self, found: Mapping[str, float]) -> list[float]:
        return [coarse(value, self.errors.get(name, 0.0)) for name, value in found.items()]


def coarse(value: float, error: float) -> float:
    """``value`` in steps of its relative ``error``: 100 and 101 are alike where it is 0.05; as it is where it is 0."""
    if error <= 0 or value <= 0:
        return value
    step = math.log1p(error)
    return math.exp(round(math.log(value) / step) * step)
