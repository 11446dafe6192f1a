"""How far the scores of one architecture scatter from seed to seed: a run measures it on itself."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .record import Record


@dataclass(frozen=True)
class Noise:
    """``std`` is the standard deviation of one accuracy in [0, 1]; ``freedom`` the degrees of freedom it has."""

    std: float
    freedom: int

    @property
    def error(self) -> float:
        """The standard error of ``std`` itself, for normal noise: σ / √(2ν)."""
        return self.std / (2 * self.freedom) ** 0.5


def noise_of(records: Iterable[Record]) -> Noise | None:
    """Pooled over all architectures that were judged under several seeds; ``None`` where none was."""
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    for record in records:
        if record.finished:
            scores[record.key][record.seed] = record.accuracy or 0.0
    repeated = [list(by_seed.values()) for by_seed in scores.values() if len(by_seed) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    if not freedom:
        return None
    squares = sum((value - sum(values) / len(values)) ** 2 for values in repeated for value in values)
    return Noise((squares / freedom) ** 0.5, freedom)
