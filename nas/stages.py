"""What a run judges beside its trials: the parent before them, repeats and the final stage behind them."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search_spaces import VANILLA, Architecture, Space
from search_spaces.checks import BadInput
from trainers.judges import WANT_PARENT
from trainers.report import Report, Status
from trainers.whole_file import write_whole

from .candidates import Candidate, Candidates
from .cost.table import CostTable
from .feasible import Feasible
from .finalists import diverse_best
from .pooled import Pooled, pooled
from .question import Question
from .record import Record
from .run import Run
from .stage import Stage
from .uniform import to_beat

FINAL_SEEDS = 3
LEAST_REPEATS, MOST_REPEATS, SHARE = 3, 10, 5


@dataclass(frozen=True)
class Stages:
    """The stages of one run; what each is to judge follows from the run's files alone."""

    run: Run
    space: Space
    table: CostTable
    feasible: Feasible
    candidates: Candidates

    def parent(self) -> Stage:
        """The vanilla network, where candidates start from its weights and nobody gave them; again where it failed.

        Raises:
            BadInput: candidates have started from it, and it is gone: from another one their scores would not compare.
        """
        question = self.run.question
        given = question.weights is not None and not self.run.start_file.exists()
        wanted = question.judge in WANT_PARENT and not given and not self.run.parent_file.exists()
        if wanted and (self.candidates.ledger.records or self.candidates.references.records):
            raise BadInput(f"{self.run.parent_file} is missing: copy it with the run's folder")
        vanilla = Candidate("parent", self.space.uniform(VANILLA), question.seed)
        planned = [vanilla] if wanted else []
        return Stage(self.run.stage_file("parent"), planned, self.table, self._keep, again=True)

    def _keep(self, report: Report) -> None:
        if report.weights is not None:
            write_whole(self.run.parent_file, report.weights)

    def require_parent(self) -> None:
        """BadInput where candidates can't start from it."""
        if self.run.question.judge in WANT_PARENT and not self.run.parent_file.exists():
            if self.run.question.weights is not None and not self.run.start_file.exists():
                raise BadInput(f"{self.run.parent_file} is missing: copy it with the run's folder")
            reasons = [r.reason for r in self.run.judged("parent") if r.reason]
            said = f": {reasons[-1]}" if reasons else ""
            raise BadInput(
                f"the vanilla network that candidates inherit from could not be trained{said}; "
                f"--resume {self.run.folder} tries it again"
            )

    def repeats(self) -> Stage:
        """Some candidates, the first ones, and the references, once more under another seed."""
        count = planned_repeats(self.run.question)
        finished = [r for r in self.candidates.ledger.records if r.finished and r.name.isdigit()]
        chosen = sorted(finished, key=lambda r: r.name)[:count]
        with_references = count and references_again(self.run.question)
        beside = [r for r in self.candidates.references.records if r.finished] if with_references else []
        again = {r.key: r for r in (*chosen, *beside)}
        seed = self.run.question.seed + 1
        return self._stage("repeats", [Candidate(r.name, r.built_architecture(), seed) for r in again.values()])

    def final(self) -> Stage:
        """The finalists and what they are to beat, each under the same seeds."""
        if self._wants_finalists() and self._finalists() is None:
            entries = {name: a.to_dict() for name, a in self._chosen().items()}
            self.run.write_finalists({"asked": self._asked(), "chosen": entries})
        return self._final(self._finalists() or {})

    def to_do(self) -> int:
        """Judgings of the next stage behind the trials that are still to end; who is final depends on the repeats.

        Nothing is chosen or written here: where the finalists are not known, it is one at least.
        """
        if self._wants_finalists() and self._finalists() is None:
            return self.repeats().to_do + 1
        return self.repeats().to_do + self._final(self._finalists() or {}).to_do

    def finals(self) -> list[Record]:
        """What the final stage has found; nothing until it is complete, as it was asked for last."""
        return finals_of(self.run)

    def _final(self, finalists: Mapping[str, Architecture]) -> Stage:
        seeds = final_seeds(self.run)
        return self._stage(
            "final", [Candidate(f"{name}, seed {s}", a, s) for s in seeds for name, a in finalists.items()]
        )

    def _stage(self, name: str, planned: Sequence[Candidate]) -> Stage:
        return Stage(self.run.stage_file(name), planned, self.table)

    def _wants_finalists(self) -> bool:
        return bool(self.run.question.final) and any(r.finished for r in self.candidates.ledger.records)

    def _asked(self) -> list[int]:
        return _asked(self.run, len(self.candidates.ledger.records))

    def _finalists(self) -> Mapping[str, Architecture] | None:
        return _finalists(self.run, self._asked())

    def _chosen(self) -> dict[str, Architecture]:
        pool, count = pooled_of(self.run, self.space, self.table), self.run.question.final
        if pool is None:  # nothing in the space was finished
            return {}
        generator = np.random.default_rng([self.run.question.seed, len(pool.rows)])
        records = self.candidates.ledger.records
        known = {r.key for r in self.candidates.references.records}  # uniform settings: the best of them is there
        known |= {r.key for r in records if r.status is Status.FAILED}
        best = diverse_best(pool.model, self.feasible, count + len(known), generator)
        others = [a for a in map(self.space.architecture, best) if a.key not in known][:count]
        names = {**{r.key: r.name for r in records}, **pool.names}  # one that was stopped has a number, too
        named = {names.get(a.key, f"unseen {a.key[:6]}"): a for a in others}
        return {**self._to_beat(pool), **named}

    def _to_beat(self, pool: Pooled) -> dict[str, Architecture]:
        finished = {r.name: r for r in self.candidates.references.records if r.finished}
        costs = {name: r.costs for name, r in finished.items()}
        named = to_beat(costs, self.run.question.budget, lambda name: self._worth(pool, finished[name]))
        return {shown: finished[name].built_architecture() for name, shown in named.items()}

    def _worth(self, pool: Pooled, record: Record) -> tuple[float, float]:
        """Mean and standard deviation of its accuracy in the final stage; another judge may be wrong by anything."""
        mean, deviation = pool.predicted.get(record.key, (record.accuracy or 0.0, math.inf))
        return mean, deviation if self.run.question.finals_are_alike else math.inf


def final_seeds(run: Run) -> range:
    """That no trial and no repeat had: what was lucky there is not again."""
    first = run.question.seed + 2
    return range(first, first + FINAL_SEEDS)


def finals_of(run: Run) -> list[Record]:
    """What the final stage has found; nothing until it is complete, as it was asked for last.

    Networks of an earlier final stage, before trials were added, count too: by the same seeds and the same recipe.
    """
    finalists, records = _finalists(run, _asked(run, len(run.candidates))), run.judged("final")
    seeds: dict[str, set[int]] = defaultdict(set)
    for record in records:
        seeds[record.key].add(record.seed)
    whole = {key for key, had in seeds.items() if had >= set(final_seeds(run))}
    complete = finalists and all(a.key in whole for a in finalists.values())
    return [r for r in records if r.key in whole] if complete else []


def _asked(run: Run, trials: int) -> list[int]:
    """What decides who is final; when it changes they are chosen again."""
    return [run.question.final, trials]


def _finalists(run: Run, asked: list[int]) -> Mapping[str, Architecture] | None:
    """Name → architecture, as they were chosen and written down; ``None`` before."""
    found = run.finalists
    if found is None or found["asked"] != asked:
        return None
    return {name: Architecture.from_dict(entry) for name, entry in found["chosen"].items()}


def planned_repeats(question: Question) -> int:
    """How many candidates are judged twice: by default none where the final stage shows the same noise."""
    if question.repeats is not None:
        return question.repeats
    return min(max(question.trials // SHARE, LEAST_REPEATS), MOST_REPEATS) if references_again(question) else 0


def references_again(question: Question) -> bool:
    """Whether they are judged twice for the noise: not where the final stage judges some of them as trials are."""
    return not (question.final and question.finals_are_alike)


def judged(run: Run, with_finals: bool = False) -> list[Record]:
    """All that the run's judge finished: candidates, references, repeats; each architecture and seed once.

    Args:
        with_finals: the final stage's too, where that is by the same judge, and so by the same recipe.
    """
    finals = run.judged("final") if with_finals and run.question.finals_are_alike else []
    records = [*finals, *run.candidates, *run.references, *run.judged("repeats")]
    return list({(r.key, r.seed): r for r in records if r.finished}.values())


def pooled_of(run: Run, space: Space, table: CostTable, with_finals: bool = False) -> Pooled | None:
    """The model over all that was judged."""
    return pooled(space, judged(run, with_finals), table.options(space, "flops"), run.sensitivity)
