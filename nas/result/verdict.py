"""What the final stage found: trainings under several seeds, and the differences with their errors."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from ..budget import Budget, broken
from ..record import Record
from .measured import Measured

CLEAR = 2.0  # standard errors from zero, below which a difference was not measured


@dataclass(frozen=True)
class Standing:
    """One network of the final stage: its finished trainings, one per seed."""

    name: str
    trainings: tuple[Record, ...]

    @property
    def key(self) -> str:
        return self.trainings[0].key

    @property
    def flops(self) -> float:
        return self.trainings[0].costs["flops"]

    @cached_property
    def accuracy(self) -> float:
        """The mean over the seeds, on the validation split, in [0, 1]."""
        return fmean(r.accuracy or 0.0 for r in self.trainings)

    @cached_property
    def test_accuracy(self) -> float:
        """The same on the test split, which has chosen nothing."""
        return fmean(r.test_accuracy or 0.0 for r in self.trainings)

    @property
    def is_candidate(self) -> bool:
        """Whether the search proposed it: a number of the run, or a choice of the model that no trial had judged."""
        return self.name.isdigit() or self.name.startswith("unseen ")

    @property
    def is_uniform(self) -> bool:
        return not self.is_candidate and self.name != "vanilla"

    @property
    def is_papers(self) -> bool:
        return self.name.startswith("papers' ")


@dataclass(frozen=True)
class Verdict:
    """All that the final stage trained, the most accurate first; ``budgets`` are the run's.

    What a whole network measured is what must keep a budget, where it was measured and can be trusted.

    Args:
        std: the standard deviation between the seeds of one network, pooled over all, with ``freedom`` degrees of
            freedom; 0 and 0 where each has one training.
        failed: name → under how many seeds its training failed. Who failed under any is neither best nor beaten: those
            that are left may be the lucky ones.
    """

    standings: tuple[Standing, ...]
    budgets: tuple[Budget, ...]
    measured: Measured
    std: float
    freedom: int
    failed: Mapping[str, int] = field(default_factory=dict)

    def error(self, standing: Standing) -> float:
        """The standard error of its mean accuracy."""
        return self.std / len(standing.trainings) ** 0.5

    def difference(self, a: Standing, b: Standing) -> tuple[float, float]:
        """``a`` over ``b`` in mean accuracy, and its standard error."""
        return a.accuracy - b.accuracy, (self.error(a) ** 2 + self.error(b) ** 2) ** 0.5

    def of(self, key: str) -> Standing | None:
        return next((s for s in self.standings if s.key == key), None)

    @property
    def best(self) -> Standing | None:
        """The most accurate within the budgets: a candidate, a uniform setting, vanilla where a budget allows it."""
        return next((s for s in self.standings if self._kept(s)), None)

    @property
    def found(self) -> Standing | None:
        """The most accurate candidate within the budgets."""
        return next((s for s in self.standings if s.is_candidate and self._kept(s)), None)

    @property
    def uniform(self) -> Standing | None:
        """The most accurate uniform setting within the budgets: the one to beat."""
        return next((s for s in self.standings if s.is_uniform and self._kept(s)), None)

    def _kept(self, standing: Standing) -> bool:
        return standing.name not in self.failed and not broken(
            self.budgets, self.measured.sure_costs(standing.trainings[0])
        )

    def sentence(self) -> str:
        """The result, in one sentence; empty where nothing was trained to its end."""
        found = self.found
        if found is None:
            return ""
        others = [s for s in self.standings if s is self.uniform or s.is_papers]
        said = [self._compared(found, other) for other in others]
        seeds = len(found.trainings)
        epochs = max(len(r.accuracy_by_epoch) for s in self.standings for r in s.trainings)
        count = f"{seeds} seed{'' if seeds == 1 else 's'} each" + (f", {epochs} epochs" if epochs else "")
        of = f"{found.name} ({found.flops / 1e9:.3f} GFLOPs, {found.accuracy:.1%})"
        failed = "".join(f"; {name} failed under {n} of its seeds" for name, n in self.failed.items())
        return f"{of}: {'; '.join(said) or 'nothing to compare it with'}; {count}{failed}"

    def _compared(self, found: Standing, other: Standing) -> str:
        difference, error = self.difference(found, other)
        best = "the best uniform setting " if other is self.uniform else ""
        of = f"{best}{other.name.removeprefix('uniform ')} ({other.flops / 1e9:.3f} GFLOPs)"
        figures = f"{100 * difference:+.1f} ± {100 * error:.1f} points"
        if not self.freedom:
            return f"{100 * difference:+.1f} points over {of}, with an error that one seed does not tell"
        if abs(difference) < CLEAR * error:
            return f"no difference that could be measured from {of}: {figures}"
        return f"{figures} {'over' if difference > 0 else 'against'} {of}"


def verdict_of(records: Iterable[Record], budgets: Sequence[Budget], measured: Measured) -> Verdict | None:
    """Of the final stage's records; ``None`` where none is finished."""
    by_key: dict[str, dict[int, Record]] = defaultdict(dict)
    failed = Counter[str]()
    for record in records:
        if record.finished:
            by_key[record.key][record.seed] = record
        else:
            failed[_plain(record.name)] += 1
    if not by_key:
        return None
    trained = [tuple(by_seed[seed] for seed in sorted(by_seed)) for by_seed in by_key.values()]  # not as they ended
    standings = [Standing(_plain(trainings[0].name), trainings) for trainings in trained]
    freedom = sum(len(s.trainings) - 1 for s in standings)
    squares = sum(((r.accuracy or 0.0) - s.accuracy) ** 2 for s in standings for r in s.trainings)
    std = (squares / freedom) ** 0.5 if freedom else 0.0
    ranked = tuple(sorted(standings, key=lambda s: -s.accuracy))
    return Verdict(ranked, tuple(budgets), measured, std, freedom, dict(failed))


def _plain(name: str) -> str:
    """``0007, seed 2`` → ``0007``."""
    return name.rpartition(", seed ")[0] or name
