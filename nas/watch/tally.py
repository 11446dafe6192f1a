"""How a search stands, for whoever shows it: counts, the front, the best so far, the time that is left."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from search_spaces.late import Late
from trainers.report import Report, Status

from ..budget import broken
from ..progress import progress
from ..record import Record
from .watch import Asked, Watch

if TYPE_CHECKING:
    from ..candidates import Candidate


_pareto_front = Late("nas.front", "pareto_front")  # it imports numpy: a terminal is there before that is wanted


class Tally(Watch):
    """Counts of this stage, and what all candidates so far came to. What shows it inherits from it.

    Attributes:
        asked: ``None`` before a search has begun.
        total: trials of this stage that were to end, as it began; ``done`` those that have, by their status.
        open: trials that run, with what they reported last.
        proposing_s: of the latest proposal.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.asked: Asked | None = None
        self.clock = clock
        self.candidates: list[Record] = []
        self.open: dict[str, Report | None] = {}
        self.done = Counter[Status]()
        self.total, self.proposing_s = 0, 0.0
        self.chosen: Record | None = None
        self.by_model: tuple[float, float] | None = None
        self._began = clock()
        self._also = set[str]()

    def searches(self, asked: Asked, before: Sequence[Record]) -> None:
        self.asked, self.candidates = asked, list(before)

    def planned(self, trials: int) -> None:
        self.total, self._began = trials, self.clock()
        self.done.clear()
        self.open.clear()

    def began(self, candidate: "Candidate", seconds: float) -> None:
        self.proposing_s = seconds
        if candidate.is_reference and self.asked is not None and candidate.key in self.asked.also:
            self._also.add(candidate.name)

    def running(self, name: str, report: Report | None) -> None:
        self.open[name] = report

    def ended(self, record: Record) -> None:
        self.open.pop(record.name, None)
        self.done[record.status] += 1
        if self.is_candidate(record):
            self.candidates.append(record)

    def is_candidate(self, record: Record) -> bool:
        """Whether the run's ledger has it: a proposal, or a reference that is a candidate too."""
        again = self.asked is not None and record.seed != self.asked.seed
        return not again and (record.name.isdigit() or record.name in self._also)

    def best(self, record: Record, by_model: tuple[float, float] | None) -> None:
        self.chosen, self.by_model = record, by_model

    @property
    def ended_count(self) -> int:
        """Of this stage."""
        return sum(self.done.values())

    @property
    def spent_s(self) -> float:
        """Since this stage began."""
        return self.clock() - self._began

    @property
    def left_s(self) -> float | None:
        """About how long this stage still takes, as fast as it went so far; ``None`` before anything ended."""
        ended = self.ended_count
        return None if not ended else self.spent_s / ended * max(0, self.total - ended)

    @property
    def an_hour(self) -> float:
        """Trials of this stage that ended, an hour."""
        return 3600 * self.ended_count / max(1e-9, self.spent_s)

    def leader(self) -> Record | None:
        """What ``best.yaml`` is; before there is one, the highest score within the budgets."""
        budgets = () if self.asked is None else self.asked.budgets
        within = [r for r in self.candidates if r.finished and not broken(budgets, r.costs)]
        return self.chosen or max(within, key=lambda r: r.accuracy or 0.0, default=None)

    def front(self) -> list[Record]:
        """By single scores, without their noise."""
        found: list[Record] = _pareto_front(self.candidates)
        return found

    def hypervolume(self) -> float | None:
        """``Point.hypervolume``; ``None`` before anything ended."""
        if self.asked is None or not self.candidates:
            return None
        return progress(self.candidates, self.asked.budgets, self.asked.scale)[-1].hypervolume
