"""What the report of a run is drawn from: all that its folder says, read together."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from search_spaces import VANILLA, Space
from search_spaces.checks import BadInput
from search_spaces.space import parse_space

from ..cost.table import CostTable, table_from
from ..front import pareto_front
from ..papers.rows import Point as Published
from ..papers.rows import published
from ..pooled import Pooled
from ..progress import Point, progress, scale_of
from ..record import Record
from ..result.export import best_of
from ..result.found import Found, noise_in
from ..result.measured import Measured
from ..result.verdict import Verdict, verdict_of
from ..run import Run
from ..stages import finals_of, pooled_of

STAGES = ("parent", "repeats", "final")


@dataclass(frozen=True)
class Facts:
    """One run, going on or not.

    Args:
        stages: the records of what is judged beside the trials, by stage.
        space, table, pool: ``None`` where the run's state is not there or can't be read; ``missing`` says why.
    """

    run: Run
    candidates: list[Record]
    references: list[Record]
    stages: Mapping[str, list[Record]]
    measured: Measured
    space: Space | None
    table: CostTable | None
    pool: Pooled | None
    missing: str = ""

    @classmethod
    def of(cls, run: Run) -> "Facts":
        """What stands there now; without what can't be read."""
        space = table = None
        missing = ""
        try:
            table = table_from(run.costs_document)
            space = parse_space(run.question.space_name, run.space_document, str(run.state / "space.yaml"))
        except BadInput as error:
            missing = str(error)
        if table is None and not missing:
            missing = f"{run.state / 'costs.json'} is of another version"
        whole = space is not None and table is not None and set(table.slots) == set(space.slots)
        return cls(
            run,
            run.candidates,
            run.references,
            {stage: run.judged(stage) for stage in STAGES},
            Measured.from_document(run.measured),
            space if whole else None,
            table if whole else None,
            pooled_of(run, space, table, with_finals=True) if whole and space and table else None,
            missing,
        )

    @property
    def name(self) -> str:
        return self.run.folder.name

    @cached_property
    def finished(self) -> list[Record]:
        """Candidates that have a score."""
        return [r for r in self.candidates if r.finished]

    @cached_property
    def trainings(self) -> list[tuple[str, Record]]:
        """Each training once, with its stage: a reference that is a candidate too stands in both ledgers."""
        beside = {(r.key, r.seed) for r in self.references}
        groups = {"trials": [r for r in self.candidates if (r.key, r.seed) not in beside]}
        groups |= {"references": self.references, **self.stages}
        return [(stage, record) for stage, records in groups.items() for record in records]

    @cached_property
    def scored(self) -> list[Record]:
        """Candidates and references that have a score, each once."""
        return [r for stage, r in self.trainings if stage not in self.stages and r.finished]

    @property
    def noise(self) -> float:
        """The standard deviation of one score; 0 where it is not known."""
        return noise_in(self.pool)

    @cached_property
    def front(self) -> list[Record]:
        return pareto_front(self.candidates, self.noise, None if self.table is None else self.table.resolutions)

    @cached_property
    def verdict(self) -> Verdict | None:
        return verdict_of(finals_of(self.run), self.run.question.budget, self.measured)

    @cached_property
    def best(self) -> Record | None:
        """As ``best.yaml`` is chosen."""
        return best_of(self.run, self.candidates, Found(self.measured, self.pool, self.verdict))

    @cached_property
    def vanilla(self) -> dict[str, float]:
        """The vanilla network's costs; empty where they are not known."""
        if self.space is not None and self.table is not None:
            return self.table.total(self.space.uniform(VANILLA))
        return dict(next((r.costs for r in self.references if r.name == "vanilla"), {}))

    @cached_property
    def published(self) -> list[Published]:
        """What both papers print for this backbone."""
        return [] if self.space is None else published(self.space.backbone)

    @property
    def classes(self) -> int:
        """Of the data that was searched on; 2 where an old run does not say."""
        return int((self.run.document.get("data") or {}).get("classes", 2))

    @cached_property
    def progress(self) -> list[Point]:
        """After each candidate."""
        budgets = self.run.question.budget
        return progress(self.candidates, budgets, scale_of(budgets, self._range, self.classes))

    def _range(self, metric: str) -> tuple[float, float]:
        """What networks of the space cost; where that is not known, those that there are."""
        if self.space is not None and self.table is not None:
            return self.table.ends(self.space, metric)
        known = [r.costs[metric] for r in self.finished if metric in r.costs]
        return min(known, default=0.0), max(known, default=0.0)

    def by_model(self, record: Record) -> tuple[float, float] | None:
        """Mean and standard deviation of its true accuracy, as the model over all scores has them."""
        return None if self.pool is None else self.pool.predicted.get(record.key)

    def shares(self, record: Record, metric: str) -> list[tuple[str, str, float, float]]:
        """Of each searched slot: its name, the choice in words, its cost and the vanilla layer's; [] if not known."""
        if self.space is None or self.table is None:
            return []
        layers = dict(record.architecture["layers"])
        found = []
        for name in self.space.slots:
            costs = {_plain(choice.to_dict()): (choice, cost) for choice, cost in self.table.slots[name].items()}
            entry = layers.get(name, VANILLA.to_dict())
            if _plain(entry) not in costs:  # a reference may have what the space does not allow
                return []
            choice, cost = costs[_plain(entry)]
            found.append((name, str(choice), cost[metric], self.table.slots[name][VANILLA][metric]))
        return found


def _plain(entry: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(entry.items()))


Effects = list[tuple[str, list[str], NDArray[np.float64], NDArray[np.float64]]]


def effects_of(facts: Facts) -> Effects:
    """Of each variable: its name, its options in words, each option's effect on accuracy and the error of that.

    Against the mean of the variable's options, in [0, 1]; [] where there is no model.
    """
    if facts.pool is None or facts.space is None:
        return []
    model = facts.pool.model
    starts = np.cumsum([0, *model.prior.sizes])
    found: Effects = []
    for variable, means, start in zip(facts.space.variables, model.effects(), starts, strict=False):
        count = len(means)
        centre = np.eye(count) - 1 / count
        block = model.covariance[start : start + count, start : start + count]
        errors = np.sqrt(np.maximum(np.diag(centre @ block @ centre), 0.0))
        found.append((variable.name, [str(o.asked) for o in variable.options], means - means.mean(), errors))
    return found
