"""Ray Tune's searcher over Optuna's ask and tell; it writes the ledger as trials end."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import Trial, TrialState, create_trial
from ray.tune.search import Searcher

from search_spaces import Architecture, Space

from .cost.table import CostTable
from .front import values
from .ledger import Ledger, Record
from .samplers import ExhaustedError, WithinBudget, encoding

REPORTED = (
    "accuracy",
    "test_accuracy",
    "accuracy_by_epoch",
    "loss_by_epoch",
    "started",
    "ended",
    "train_s",
    "substituted",
    "node",
    "device",
)


class Proposer(Searcher):
    """First the references, then ``trials`` candidates within the budgets.

    References (vanilla, the papers' settings) have a ledger of their own, since they may be above the budget. One that
    is within it and in the space is a candidate as well: it stands in both ledgers, the sampler learns from it, and it
    is not trained again.
    """

    def __init__(
        self,
        space: Space,
        table: CostTable,
        study: optuna.Study,
        trials: int,
        ledger: Ledger,
        references: Mapping[str, Architecture],
        reference_ledger: Ledger,
        seed: int,
    ) -> None:
        super().__init__(metric="accuracy", mode="max")
        self.space, self.table, self.study, self.trials, self.seed = space, table, study, trials, seed
        self.ledger, self.reference_ledger = ledger, reference_ledger
        self.waiting = dict(references)
        assert isinstance(study.sampler, WithinBudget)
        self.sampler = study.sampler
        self.also_candidates = {a.key: i for a in references.values() if (i := self.sampler.admissible(a)) is not None}
        self.sampler.taken.update(self.also_candidates.values())
        self.open: dict[str, tuple[Architecture, Trial | None, str]] = {}
        self.asked = 0
        self.exhausted = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self.waiting:
            name = next(iter(self.waiting))
            architecture, asked = self.waiting.pop(name), None
        else:
            if self.asked >= self.trials or self.exhausted:
                return Searcher.FINISHED
            asked = self._ask()
            if asked is None:
                return Searcher.FINISHED
            architecture, name = self._architecture(asked), f"{self.asked:04d}"
        self.open[trial_id] = (architecture, asked, name)
        return {"architecture": architecture.to_dict(), "name": name}

    def _ask(self) -> Trial | None:
        try:
            trial = self.study.ask(self.sampler.distributions)
        except ExhaustedError:
            self.exhausted = True
            return None
        self.asked += 1
        return trial

    def _architecture(self, trial: Trial) -> Architecture:
        return self.space.architecture(encoding.indices(self.space, trial.params))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune calls this for a trial that ended well; ``trial_failed`` was called before for one that did not."""
        if trial_id in self.open and result is not None and not error:
            reason = result.get("reason")
            if reason is None and "test_accuracy" not in result:
                return  # stopped half-way, by Ctrl-C: not finished
            self._record(trial_id, result, reason)

    def trial_failed(self, trial_id: str, result: dict[str, Any], reason: str, traceback: str) -> None:
        """A trial whose process failed more often than Tune restarts it."""
        if trial_id in self.open:
            self._record(trial_id, result, reason, traceback)

    def record_of(self, trial_id: str) -> Record | None:
        """The record of a trial that has ended, candidate or reference."""
        records = (*self.reference_ledger.records, *self.ledger.records)
        return next((r for r in records if r.trial == trial_id), None)

    def _record(self, trial_id: str, result: dict[str, Any], reason: str | None, traceback: str | None = None) -> None:
        architecture, asked, name = self.open.pop(trial_id)
        costs = self.table.total(architecture)
        reported: dict[str, Any] = {
            key: tuple(result[key]) if isinstance(result[key], list) else result[key]
            for key in REPORTED
            if key in result
        }
        record = Record(
            trial=trial_id,
            key=architecture.key,
            status="failed" if reason else "finished",
            architecture=architecture.to_dict(),
            flops=int(costs["flops"]),
            params=int(costs["params"]),
            latency_ms=costs["latency_ms"],
            **reported,
            seed=self.seed,
            name=name,
            reason=reason,
            traceback=traceback,
        )
        if asked is None:
            self.reference_ledger.append(record)
            if record.key in self.also_candidates:
                self.ledger.append(record)
                self._teach(record)
        else:
            self.ledger.append(record)
            self._tell(asked, record)

    def _teach(self, record: Record) -> None:
        """A trial that Optuna did not ask for."""
        if record.status == "finished":
            params = encoding.params(self.space, self.also_candidates[record.key], {})
            trial = create_trial(params=params, distributions=self.sampler.distributions, values=values(record))
            self.study.add_trial(trial)

    def _tell(self, trial: Trial, record: Record) -> None:
        if record.status == "failed":
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, values(record))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""
