"""What to try next, and what came of it: ``suggest`` and ``update``. Knows neither Ray nor a terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from search_spaces import Architecture, Choice, Space
from search_spaces.checks import BadInput
from trainers.report import Report

from .cost.table import CostTable
from .feasible import ALL_TRIED, ExhaustedError, Feasible
from .record import Record
from .run import Run, journal
from .run.ledger import Ledger
from .samplers import LEARN_FROM_ALL, SAMPLERS, encoding
from .samplers.memory import WINDOW, Entry, Memory
from .samplers.problem import problem
from .samplers.within_budget import WithinBudget
from .stopping import STOPPING
from .uniform import compared_with


@dataclass(frozen=True)
class Candidate:
    """An architecture that is to be judged under a seed: the next number of the run, or a reference by its name."""

    name: str
    architecture: Architecture
    seed: int
    is_reference: bool = False
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.architecture.key)


class Candidates:
    """First the references, then what an earlier process left unfinished, then new ones within the budgets.

    References (vanilla, the papers' settings, the space's own uniform settings) have a ledger of their own, since they
    may be above the budget. One that is within it and in the space is a candidate as well: it stands in both ledgers,
    the sampler learns from it, and it is not judged again.

    The state is in the run's files alone: the ledgers, and a journal of what was proposed. Made anew from them, it goes
    on where the last process was, however that ended.

    Attributes:
        ended: the records of this process, in order.
        exhausted: why there is no further proposal, if so; ``complete``: whether it is known that there is none.
        disk_error: why nothing more can be written, if so; nothing is suggested then.
    """

    def __init__(self, run: Run, space: Space, table: CostTable, feasible: Feasible) -> None:
        self.run, self.space, self.table = run, space, table
        question = run.question
        self.seed = question.seed
        searched = problem(space, table, feasible, question.planned or question.trials)
        searched = replace(searched, sensitivity=lambda: run.sensitivity)
        self.sampler = WithinBudget(SAMPLERS[question.sampler], searched, question.seed)
        errors = {name: found.error for name, found in table.predictions.items()}
        self.memory = Memory(self.sampler, None if question.sampler in LEARN_FROM_ALL else WINDOW, errors)
        self.rule = STOPPING[question.stop](searched)
        self.ledger, self.references = Ledger.open(run.ledger_file), Ledger.open(run.references_file)
        self.ended: list[Record] = []
        self.complete = bool((run.measured or {}).get("complete"))
        self.exhausted = ALL_TRIED if self.complete else None
        self.disk_error: OSError | None = None
        self.open: dict[str, Candidate] = {}
        self.waiting: dict[str, Candidate] = {}
        self._rebuild(compared_with(space, table, question.budget) if question.references else {})

    @property
    def any_finished(self) -> bool:
        """Whether a trial of this run has ever finished."""
        return any(r.finished for r in (*self.ledger.records, *self.references.records))

    @property
    def to_propose(self) -> int:
        """Candidates that were not proposed yet, and can be."""
        return 0 if self.exhausted else max(0, self.run.question.trials - self.sampler.asked)

    @property
    def to_do(self) -> int:
        """Trials that are still to end."""
        return len(self.waiting) + len(self.open) + self.to_propose

    def suggest(self) -> Candidate | None:
        """The next to be judged; ``None`` where there is none any more, or the disk is full (``disk_error``)."""
        if self.disk_error:
            return None
        if self.waiting:
            candidate = self.waiting.pop(next(iter(self.waiting)))
        else:
            proposed = self._propose() if self.to_propose else None
            if proposed is None:
                return None
            candidate = proposed
        self.open[candidate.name] = candidate
        return candidate

    def stops(self, name: str, report: Report) -> str | None:
        """Why the stopping rule ends an open candidate now, or ``None``."""
        candidate = self.open[name]
        if candidate.is_reference or report.status.is_final:
            return None
        return self.rule(recorded(candidate, report, self.table), self.ledger.records)

    def update(self, name: str, report: Report) -> Record | None:
        """An open candidate has ended: into the ledger, then the sampler learns of it.

        Returns its record; ``None`` where it could not be written (``disk_error``): it is still open then.
        """
        assert report.status.is_final
        candidate = self.open[name]
        record = recorded(candidate, report, self.table)
        if not self._written(lambda: self._write(record, candidate)):
            return None
        del self.open[name]
        self.ended.append(record)
        return record

    def _propose(self) -> Candidate | None:
        try:
            entry = self.memory.ask()
        except ExhaustedError as error:
            self.exhausted, self.complete = str(error), error.complete
            return None
        if not self._written(lambda: journal.append(self.run.proposals_file, entry)):
            return None
        indices = encoding.indices(self.space, entry["params"])
        return Candidate(entry["name"], self.space.architecture(indices), self.seed)

    def _write(self, record: Record, candidate: Candidate) -> None:
        if not candidate.is_reference:
            self.ledger.append(record)
            self.memory.tell(record, self.ledger.records[:-1])
            return
        self.references.append(record)
        if record.key in self.also_candidates:
            self.ledger.append(record)
            self._recall(record, None, self.ledger.records[:-1])

    def _written(self, write: Callable[[], None]) -> bool:
        """Whether ``write`` could write. If not (a full disk), nothing more is begun, and nothing is lost."""
        try:
            write()
        except OSError as error:
            self.disk_error = error
            return False
        return True

    def _rebuild(self, named: Mapping[str, Architecture]) -> None:
        """The sampler's memory and the unfinished candidates, from the files."""
        also = {a.key: i for a in named.values() if (i := self.sampler.admissible(a)) is not None}
        self.also_candidates = also
        self.sampler.taken.update(also.values())
        judged = {r.name for r in self.references.records}
        beside = {n: Candidate(n, a, self.seed, is_reference=True) for n, a in named.items() if n not in judged}
        self.waiting.update(beside)
        entries = journal.read(self.run.proposals_file)
        journal.mend(self.run.proposals_file)
        noted = {r.key for r in self.ledger.records}
        for record in self.references.records:
            if record.key in also and record.key not in noted:
                self.ledger.append(record)  # the crash came between the two ledgers
        try:
            self._recall_all(entries)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(
                f"{self.run.proposals_file} is damaged: {type(error).__name__}: {error}; copy it with the run's folder"
            ) from None

    def _recall_all(self, entries: Sequence[Entry]) -> None:
        proposed = {str(entry["name"]): entry for entry in entries}
        for i, record in enumerate(self.ledger.records):
            self._recall(record, proposed.pop(record.name, None), self.ledger.records[:i])
        for name, entry in proposed.items():
            indices = encoding.indices(self.space, entry["params"])
            self.sampler.taken.add(indices)
            self.memory.recall(entry, None)
            self.waiting[name] = Candidate(name, self.space.architecture(indices), self.seed)
        self.sampler.asked = max([0, *(int(e["name"]) for e in entries), *map(_number_of, self.ledger.records)])

    def _recall(self, record: Record, entry: Entry | None, before: Sequence[Record]) -> None:
        """A trial that has ended. Where no proposal of it is known, its architecture says its parameters."""
        if entry is None:
            indices = self.also_candidates.get(record.key) or self.space.indices(record.built_architecture())
            if indices is None:
                return
            entry = {"name": record.name, "params": encoding.params(self.space, indices, {})}
        else:
            indices = encoding.indices(self.space, entry["params"])
        self.sampler.taken.add(indices)
        self.memory.recall(entry, record, before)


def recorded(candidate: Candidate, report: Report, table: CostTable) -> Record:
    """The record of a candidate whose last report this is."""
    return Record(
        **{f: getattr(report, f) for f in Report.__dataclass_fields__ if f != "weights"},
        name=candidate.name,
        key=candidate.key,
        architecture=_shared(candidate.architecture),
        costs=table.total(candidate.architecture),
        seed=candidate.seed,
    )


@cache
def _entry(choice: Choice) -> dict[str, object]:
    return choice.to_dict()


def _shared(architecture: Architecture) -> dict[str, Any]:
    """``to_dict``, with one dict for each choice, however many records name it: a ledger of 10,000 fits into memory."""
    return {
        "backbone": architecture.backbone.to_dict(),
        "layers": {slot: _entry(choice) for slot, choice in architecture.layers},
    }


def _number_of(record: Record) -> int:
    """Of a candidate its number, of a reference 0."""
    return int(record.name) if record.name.isdigit() else 0
