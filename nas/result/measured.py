"""What was measured of whole networks, beside what the sums over their layers predict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..record import Record

Figures = Mapping[str, Mapping[str, tuple[float, float]]]


@dataclass(frozen=True)
class Measured:
    """Measurements of whole networks, vanilla among them.

    Args:
        networks: architecture key → metric → the figure, and its standard error.
        how: the device and the way, as ``cost.device.describe`` words them.
        details: architecture key → metric → all that a reading says, as ``cost.latency.Reading.to_dict`` has it.
    """

    networks: Figures
    how: Mapping[str, Any]
    details: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> "Measured":
        """Of a run that ended before; of an earlier version, which kept the quartiles' distance, half of that."""
        if document is None:
            return cls({}, {})
        details = document.get("details")
        share = 0.5 if details is None else 1.0
        networks = {
            key: {metric: (value, share * error) for metric, (value, error) in found.items()}
            for key, found in document["networks"].items()
        }
        return cls(networks, document["device"], details or {})

    def to_document(self) -> dict[str, Any]:
        """Plain values."""
        return {"device": self.how, "networks": self.networks, "details": self.details}

    def of(self, record: Record) -> Mapping[str, tuple[float, float]]:
        """Metric → the figure, and its standard error; empty where it was not measured."""
        return self.networks.get(record.key, {})

    def costs(self, record: Record) -> dict[str, float]:
        """The record's costs, with what was measured of the whole network where it was."""
        return {**record.costs, **{name: value for name, (value, _) in self.of(record).items()}}

    def sure_costs(self, record: Record) -> dict[str, float]:
        """As ``costs``, but for figures that can't be trusted: they break no budget that what was predicted keeps."""
        doubted = {name for name, reading in self.details.get(record.key, {}).items() if reading.get("doubt")}
        return {n: record.costs.get(n, v) if n in doubted else v for n, v in self.costs(record).items()}

    @property
    def doubt(self) -> str:
        """Of how many networks the figures can't be trusted, and why; empty where all can."""
        said = [r["doubt"] for found in self.details.values() for r in found.values() if r.get("doubt")]
        return f"{len(said)} of {len(self.details)} networks: {said[0]}" if said else ""
