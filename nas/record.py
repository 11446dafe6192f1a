"""A trial that has ended: what it reported last, and of which architecture. One line of the ledger."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.late import Late
from trainers.report import Report, Status

from .metrics import objectives

if TYPE_CHECKING:
    from search_spaces import Architecture

FORMAT = 4  # of a ledger's lines and of search.yaml
OLD_COSTS = ("flops", "params", "latency_ms")  # in format 1 each had a key of its own
_architecture_from = Late("search_spaces.architecture", "architecture_from")


@dataclass(frozen=True, kw_only=True)
class Record(Report):
    """One line of the ledger.

    Args:
        name: a candidate's number, ``0007``, or a reference's name.
        key: the architecture's hash.
        architecture: its YAML's ``backbone`` and ``layers``.
        costs: the target's, by metric.
        seed: the run's.
    """

    name: str
    key: str
    architecture: Mapping[str, Any]
    costs: Mapping[str, float]
    seed: int

    def built_architecture(self) -> "Architecture":
        """Checked; it needs torch."""
        found: Architecture = _architecture_from(self.architecture)
        return found

    @property
    def finished(self) -> bool:
        return self.status is Status.FINISHED

    @property
    def objectives(self) -> dict[str, float]:
        """Of a finished trial, in the order of ``OBJECTIVES``; a cost that its run did not know is left out."""
        if not self.finished:
            raise ValueError(f"{self.name} has no objectives: its status is {self.status}")
        return objectives(self.accuracy or 0.0, self.costs)

    def to_entry(self) -> dict[str, Any]:
        """Plain values, without those that are not known."""
        return {"format": FORMAT, **{key: value for key, value in asdict(self).items() if value is not None}}


def record_from(entry: Mapping[str, Any]) -> Record:
    """What ``to_entry`` gave, in this version or in an earlier one.

    Raises:
        ValueError, TypeError, KeyError: it is no record, or one of a newer version.
    """
    version = entry.get("format", 1)
    if version not in range(1, FORMAT + 1):
        raise ValueError(f"its format is {version}, this version reads 1 to {FORMAT}")
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in entry.items() if key != "format"
    }
    if version == 1:
        values["name"] = values.get("name") or values["trial"]
        values["costs"] = {name: values.pop(name) for name in OLD_COSTS}
        del values["trial"]
    return Record(**{**values, "status": Status(values["status"])})
