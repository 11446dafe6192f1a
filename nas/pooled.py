"""The additive model over all that a run has judged: what single scores can't say, said by all of them together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from search_spaces import VANILLA, Space

from .model import Model
from .noise import Noise, noise_of
from .prior import Prior
from .record import Record


@dataclass(frozen=True)
class Pooled:
    """``rows``: option indices of what was judged ``(N, variables)``; ``names``: architecture key → its name.

    Args:
        keys: of the rows' architectures.
        predicted: architecture key → mean and standard deviation of its true accuracy, of what is in the space.
    """

    model: Model
    rows: NDArray[np.int64]
    names: Mapping[str, str]
    noise: Noise | None
    predicted: Mapping[str, tuple[float, float]]
    keys: tuple[str, ...]

    @cached_property
    def without_own(self) -> dict[str, float]:
        """Architecture key → what is expected of it by the others' scores alone."""
        return dict(zip(self.keys, self.model.leave_one_out().tolist(), strict=True))

    def mean(self, record: Record) -> float:
        """The model's, or the score itself of what is not in the space."""
        return self.predicted[record.key][0] if record.key in self.predicted else record.accuracy or 0.0


def pooled(
    space: Space,
    records: Sequence[Record],
    flops: Sequence[NDArray[np.float64]],
    sensitivity: Sequence[Sequence[float]] | None = None,
) -> Pooled | None:
    """Fitted to finished ``records``, of several seeds too; ``None`` where none is in the space.

    Args:
        flops: of each variable's options, ``(options,)`` each; so is ``sensitivity``, where that was measured.
    """
    lookup = _lookup(space)  # once: to compare spaces takes longer than to find a row
    inside = [(row, r) for r in records if (row := _row(space, lookup, r)) is not None]
    if not inside:
        return None
    rows = np.array([row for row, _ in inside], dtype=np.int64)
    noise = noise_of(records)
    scores = np.array([r.accuracy or 0.0 for _, r in inside])
    prior = Prior.of(space, flops, sensitivity)
    model = Model.fit(prior, rows, scores, noise.std if noise is not None and noise.std > 0 else None)
    means, deviations = model.predict(rows)
    predicted = {r.key: (float(m), float(d)) for (_, r), m, d in zip(inside, means, deviations, strict=True)}
    names = {r.key: r.name for _, r in inside}
    return Pooled(model, rows, names, noise, predicted, tuple(r.key for _, r in inside))


Lookup = list[dict[tuple[tuple[tuple[str, object], ...], ...], int]]


def row_of(space: Space, record: Record) -> tuple[int, ...] | None:
    """The option indices of a record, or ``None`` if it is not in the space; builds no network."""
    return _row(space, _lookup(space), record)


def _row(space: Space, lookup: Lookup, record: Record) -> tuple[int, ...] | None:
    layers = record.architecture["layers"]
    found = []
    for variable, options in zip(space.variables, lookup, strict=True):
        index = options.get(tuple(_entry(layers.get(slot)) for slot in variable.slots))
        if index is None:
            return None
        found.append(index)
    return tuple(found)


@cache
def _lookup(space: Space) -> Lookup:
    return [
        {tuple(_entry(c.to_dict()) for c in option.choices): i for i, option in reversed(list(enumerate(v.options)))}
        for v in space.variables
    ]


def _entry(choice: Mapping[str, object] | None) -> tuple[tuple[str, object], ...]:
    """Hashable; a slot that is not named is vanilla."""
    return tuple(sorted((VANILLA.to_dict() if choice is None else choice).items()))
