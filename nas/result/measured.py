"""What was measured of whole networks, beside what the sums over their layers predict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..record import Record


@dataclass(frozen=True)
class Measured:
    """Measurements of whole networks.

    Args:
        networks: architecture key → metric → the figure, and its spread.
        how: the device and the way, as ``cost.latency.describe`` words them.
    """

    networks: Mapping[str, Mapping[str, tuple[float, float]]]
    how: Mapping[str, Any]

    def of(self, record: Record) -> Mapping[str, tuple[float, float]]:
        """Metric → the figure, and its spread; empty where it was not measured."""
        return self.networks.get(record.key, {})

    def costs(self, record: Record) -> dict[str, float]:
        """The record's costs, with what was measured of the whole network where it was."""
        return {**record.costs, **{name: value for name, (value, _) in self.of(record).items()}}
