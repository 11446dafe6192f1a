"""A live Optuna journal in the run: ``optuna-dashboard results/RUN/state/optuna.log`` opens it while it grows.

It is a copy for looking at: the sampler learns from the run's own ledger, and a journal that is lost is begun anew.
"""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from search_spaces import Space
from trainers.report import Report

from ..budget import Budget
from ..metrics import OBJECTIVES, directions
from ..pooled import row_of
from ..record import Record
from ..samplers import encoding
from ..samplers.memory import STATES
from .watch import Watch

if TYPE_CHECKING:
    from ..candidates import Candidate

CONSTRAINTS = "constraints"  # as Optuna's samplers and its dashboard name them: at most 0 where they are kept


class OptunaJournal(Watch):
    """Each candidate and reference of the space as a trial: its parameters, costs, curve, and how it ended.

    Args:
        ended: what has ended in earlier processes.
    """

    def __init__(self, path: Path, name: str, space: Space, budgets: Iterable[Budget], ended: Iterable[Record]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.budgets = space, tuple(budgets)
        self.distributions: dict[str, BaseDistribution] = encoding.distributions(space)
        known = list(ended)
        try:
            self._open(path, name)
        except Exception:  # a journal that was torn or is another version's
            path.unlink(missing_ok=True)
            self._open(path, name)
        for record in known:
            if self._at.get(record.name, (0, True))[1]:
                self._trial(record.name, row_of(self.space, record), {})
                self.ended(record)

    def _open(self, path: Path, name: str) -> None:
        self.storage = JournalStorage(JournalFileBackend(str(path)))
        study = optuna.create_study(storage=self.storage, study_name=name, directions=directions(), load_if_exists=True)
        with warnings.catch_warnings(action="ignore"):  # it is experimental
            study.set_metric_names(list(OBJECTIVES))
        self.study = study._study_id
        trials = self.storage.get_all_trials(self.study, deepcopy=False)
        self._at = {str(t.user_attrs.get("name")): (t._trial_id, not t.state.is_finished()) for t in trials}

    def began(self, candidate: "Candidate", seconds: float) -> None:
        if not (candidate.name.isdigit() or candidate.is_reference):
            return  # of another stage: the parent, repeats, the final one
        self._trial(candidate.name, self.space.indices(candidate.architecture), {"proposed in s": round(seconds, 4)})

    def running(self, name: str, report: Report | None) -> None:
        if report is None or report.accuracy is None or not self._is_open(name):
            return
        self.storage.set_trial_intermediate_value(self._at[name][0], report.epoch, report.accuracy)

    def ended(self, record: Record) -> None:
        if not self._is_open(record.name):
            return
        number = self._at[record.name][0]
        told: dict[str, Any] = {**record.costs, "test_accuracy": record.test_accuracy, "reason": record.reason}
        for key, value in told.items():
            if value is not None:
                self.storage.set_trial_user_attr(number, key, value)
        kept = [record.costs[b.metric] - b.limit for b in self.budgets if b.metric in record.costs]
        self.storage.set_trial_system_attr(number, CONSTRAINTS, kept)
        values = list(record.objectives.values()) if record.finished else None
        state = STATES[record.status] if values is None or len(values) == len(OBJECTIVES) else TrialState.FAIL
        self.storage.set_trial_state_values(number, state, values if state is TrialState.COMPLETE else None)
        self._at[record.name] = (number, False)

    def _is_open(self, name: str) -> bool:
        """Whether it is a trial that has not ended: what comes under its name later is a repeat."""
        return self._at.get(name, (0, False))[1]

    def _trial(self, name: str, indices: tuple[int, ...] | None, attrs: dict[str, Any]) -> int:
        """Its number in the storage; made where there is none."""
        if name not in self._at:
            params = {} if indices is None else encoding.params(self.space, indices, {})
            template = create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions={name: self.distributions[name] for name in params},
                user_attrs={"name": name, **attrs},
            )
            self._at[name] = (self.storage.create_new_trial(self.study, template), True)
        return self._at[name][0]
