"""What was measured of whole networks, beside what the sums over their layers predict."""

from collections.abc import Mapping

from ..record import Record

Measured = Mapping[str, Mapping[str, tuple[float, float]]]
"""Architecture key → metric → what was measured of the whole network, and its spread."""


def costs_of(record: Record, measured: Measured) -> dict[str, float]:
    """The record's costs, with what was measured of the whole network where it was."""
    return {**record.costs, **{name: value for name, (value, _) in measured.get(record.key, {}).items()}}
