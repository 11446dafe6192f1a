"""Ray Tune's searcher over Optuna's ask and tell; it writes the ledger as trials end."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial, TrialState, create_trial
from ray.tune.search import Searcher

from search_spaces import Architecture, Choice, Space

from ..cost.table import CostTable
from ..result.front import values
from ..run import journal
from ..run.ledger import Ledger, Record
from ..samplers import ExhaustedError, WithinBudget, encoding

REPORTED = (
    "accuracy",
    "test_accuracy",
    "accuracy_by_epoch",
    "loss_by_epoch",
    "started",
    "ended",
    "train_s",
    "starts",
    "substituted",
    "node",
    "device",
)


WINDOW = 400  # trials that a sampler learns from, besides the front: a proposal's time must not grow for ever


@dataclass(frozen=True)
class _Open:
    """A trial that was proposed and has not ended; ``number`` is Optuna's, ``None`` for a reference."""

    architecture: Architecture
    number: int | None
    name: str


class Proposer(Searcher):
    """First the references, then what an earlier run left unfinished, then ``trials`` candidates within the budgets.

    References (vanilla, the papers' settings) have a ledger of their own, since they may be above the budget. One that
    is within it and in the space is a candidate as well: it stands in both ledgers, the sampler learns from it, and it
    is not trained again.

    The state is in the files alone: the ledgers, and ``proposals``, a journal of what was proposed. Made anew from
    them, a proposer goes on where the last one was, however that ended.

    Args:
        trials: candidates to propose in all, those of earlier runs included.
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
        proposals: Path,
        seed: int,
    ) -> None:
        super().__init__(metric="accuracy", mode="max")
        self.space, self.table, self.study, self.trials, self.seed = space, table, study, trials, seed
        self.ledger, self.reference_ledger, self.proposals = ledger, reference_ledger, proposals
        assert isinstance(study.sampler, WithinBudget)
        self.sampler = study.sampler
        self.also_candidates = {a.key: i for a in references.values() if (i := self.sampler.admissible(a)) is not None}
        self.sampler.taken.update(self.also_candidates.values())
        trained = {r.name for r in reference_ledger.records}
        self.waiting = {name: _Open(a, None, name) for name, a in references.items() if name not in trained}
        self.open: dict[str, _Open] = {}
        self.ended: dict[str, Record] = {}
        self.exhausted = False
        self.disk_error: OSError | None = None
        self.in_study = 0
        self._rebuild()

    @property
    def asked(self) -> int:
        """Candidates proposed so far, in all runs."""
        return self.sampler.asked

    @property
    def to_do(self) -> int:
        """Trials that are still to end."""
        return len(self.waiting) + len(self.open) + max(0, self.trials - self.asked)

    def _rebuild(self) -> None:
        """The study and the unfinished trials, from the files."""
        entries = journal.read(self.proposals)
        journal.mend(self.proposals)
        proposed = {str(entry["name"]): entry for entry in entries}
        both = {r.key for r in self.reference_ledger.records} & set(self.also_candidates)
        noted = {r.key for r in self.ledger.records}
        for record in self.reference_ledger.records:
            if record.key in both - noted:
                self.ledger.append(record)  # the crash came between the two ledgers
        for record in self.ledger.records:
            self._recall(record, proposed.pop(record.name or "", None))
        for name, entry in proposed.items():
            architecture = self._take(entry["params"])
            self.waiting[name] = _Open(architecture, self._add(TrialState.RUNNING, entry), name)
        self.sampler.asked = max([0, *(int(e["name"]) for e in entries), *map(_number_of, self.ledger.records)])

    def _recall(self, record: Record, entry: Mapping[str, Any] | None) -> None:
        """A trial that has ended; where its proposal is lost, the architecture says its parameters."""
        if record.key in self.also_candidates:
            self._teach(record)
            return
        if entry is None:
            indices = self.space.indices(record.built_architecture())
            if indices is None:
                return
            entry = {"params": encoding.params(self.space, indices, {})}
        self._take(entry["params"])
        if record.status == "finished":
            self._add(TrialState.COMPLETE, entry, values(record))
        else:
            self._add(TrialState.FAIL, entry)

    def _take(self, params: Mapping[str, object]) -> Architecture:
        """The architecture that parameters say, from now on taken."""
        indices = encoding.indices(self.space, params)
        self.sampler.taken.add(indices)
        return self.space.architecture(indices)

    def _add(self, state: TrialState, entry: Mapping[str, Any], of: tuple[float, ...] | None = None) -> int:
        """A trial that an earlier run asked for; returns its number."""
        trial = create_trial(
            state=state,
            values=of,
            params=dict(entry["params"]),
            distributions=self.sampler.distributions,
            system_attrs=dict(entry.get("system_attrs", {})),
        )
        self._shrink()
        self.study.add_trial(trial)
        self.in_study += 1
        return self.in_study - 1

    def _shrink(self) -> None:
        """Now and then a study of the front, the unfinished and the latest trials takes the whole one's place."""
        if self.in_study < 2 * WINDOW:
            return
        front = {trial.number for trial in self.study.best_trials}
        kept = [
            trial
            for trial in self.study.get_trials(deepcopy=False)
            if trial.number in front or trial.number >= self.in_study - WINDOW or trial.state == TrialState.RUNNING
        ]
        numbers = {trial.number: i for i, trial in enumerate(kept)}
        name, directions = self.study.study_name, self.study.directions
        self.study = optuna.create_study(directions=directions, sampler=self.sampler, study_name=name)
        self.study.add_trials(kept)
        self.in_study = len(kept)
        for opened in (self.waiting, self.open):
            for key, o in opened.items():
                if o.number is not None:
                    opened[key] = replace(o, number=numbers[o.number])

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self.disk_error:
            return Searcher.FINISHED
        if self.waiting:
            opened = self.waiting.pop(next(iter(self.waiting)))
        else:
            asked = None if self.asked >= self.trials or self.exhausted else self._ask()
            if asked is None:
                return Searcher.FINISHED
            architecture = self.space.architecture(encoding.indices(self.space, asked.params))
            opened = _Open(architecture, asked.number, f"{self.asked:04d}")
            attrs = self.study.get_trials(deepcopy=False)[asked.number].system_attrs  # NSGA-II's generation, say
            entry = {"name": opened.name, "params": asked.params, "system_attrs": attrs}
            if not self._written(lambda: journal.append(self.proposals, entry)):
                return Searcher.FINISHED
        self.open[trial_id] = opened
        text = json.dumps(opened.architecture.to_dict())  # Tune keeps it: nested dicts would be large
        return {"architecture": text, "name": opened.name, "key": opened.architecture.key}

    def _ask(self) -> Trial | None:
        self._shrink()
        try:
            trial = self.study.ask(self.sampler.distributions)
        except ExhaustedError:
            self.exhausted = True
            return None
        self.in_study += 1
        return trial

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune calls this for a trial that ended well; ``trial_failed`` was called before for one that did not."""
        if trial_id in self.open and result is not None and not error:
            reason = result.get("reason")
            if reason is None and "test_accuracy" not in result:
                return  # stopped half-way, by Ctrl-C: not finished
            self._record(trial_id, result, reason, result.get("traceback"))

    def trial_failed(self, trial_id: str, result: dict[str, Any], reason: str, traceback: str) -> None:
        """A trial whose process failed more often than Tune restarts it."""
        if trial_id in self.open:
            self._record(trial_id, result, reason, traceback)

    def record_of(self, trial_id: str) -> Record | None:
        """The record of a trial that has ended in this run, candidate or reference."""
        return self.ended.get(trial_id)

    def _record(self, trial_id: str, result: dict[str, Any], reason: str | None, traceback: str | None = None) -> None:
        opened = self.open[trial_id]
        costs = self.table.total(opened.architecture)
        reported: dict[str, Any] = {
            key: tuple(result[key]) if isinstance(result[key], list) else result[key]
            for key in REPORTED
            if key in result
        }
        record = Record(
            trial=trial_id,
            key=opened.architecture.key,
            status="failed" if reason else "finished",
            architecture=_shared(opened.architecture),
            flops=int(costs["flops"]),
            params=int(costs["params"]),
            latency_ms=costs["latency_ms"],
            **reported,
            seed=self.seed,
            name=opened.name,
            reason=reason,
            traceback=traceback,
        )
        if self._written(lambda: self._write(record, opened)):
            del self.open[trial_id]
            self.ended[trial_id] = record

    def _write(self, record: Record, opened: _Open) -> None:
        if opened.number is not None:
            self.ledger.append(record)
            self._tell(opened.number, record)
            return
        self.reference_ledger.append(record)
        if record.key in self.also_candidates:
            self.ledger.append(record)
            self._teach(record)

    def _written(self, write: Callable[[], None]) -> bool:
        """Whether ``write`` could write. If not (a full disk), nothing more is begun, and nothing is lost."""
        try:
            write()
        except OSError as error:
            self.disk_error = error
            return False
        return True

    def _teach(self, record: Record) -> None:
        """A trial that Optuna did not ask for."""
        if record.status == "finished":
            params = encoding.params(self.space, self.also_candidates[record.key], {})
            self._add(TrialState.COMPLETE, {"params": params}, values(record))

    def _tell(self, number: int, record: Record) -> None:
        if record.status == "failed":
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, values(record))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""


@cache
def _entry(choice: Choice) -> dict[str, object]:
    return choice.to_dict()


def _shared(architecture: Architecture) -> dict[str, Any]:
    """``to_dict``, with one dict for each choice, however many records name it: a ledger of 10,000 fits into memory."""
    return {**architecture.to_dict(), "layers": {slot: _entry(choice) for slot, choice in architecture.layers}}


def _number_of(record: Record) -> int:
    """Of a candidate its number, of a reference 0."""
    return int(record.name) if record.name and record.name.isdigit() else 0
