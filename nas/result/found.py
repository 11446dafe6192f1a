"""What all of a run's records together say."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .measured import Measured
from .verdict import Verdict

if TYPE_CHECKING:
    from ..pooled import Pooled


@dataclass(frozen=True)
class Found:
    """Whole networks' measurements, the model over all scores, the final stage; without what there is not."""

    measured: Measured
    pool: "Pooled | None" = None
    verdict: Verdict | None = None


def noise_in(pool: "Pooled | None") -> float:
    """The standard deviation of one score; 0 where it was not measured."""
    return 0.0 if pool is None or pool.noise is None else pool.noise.std
