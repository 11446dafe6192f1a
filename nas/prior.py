"""What is believed of the options of a space before anything is judged: the Gaussian prior of their effects.

Groups of effects, each Gaussian, that add up to an option's:

- ``kind``: an operator with its settings means the same at every variable;
- ``trend``: one slope, shared by all variables, for an operator and in the log of its numbers, and of its cost;
- ``slope``: the same for each variable of its own;
- ``smooth``: of a variable's own, alike at near settings (squared exponential over the log₂ of the numbers);
- ``own``: of an option's own, alike to nothing;
- ``sensitivity``: linear in how far the option alone moves a trained network, and in its root, where that was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from search_spaces import Option, Space

Array = NDArray[np.float64]

GROUPS = ("kind", "trend", "slope", "smooth", "own", "sensitivity")
REACH = 2.0  # octaves over which a smooth effect stays alike
LEAST_NUMBER = 1 / 64  # a hyper-parameter of 0 has no logarithm
JITTER = 1e-9


@dataclass(frozen=True)
class Prior:
    """Each group's effects are ``root @ z`` with standard normal ``z``, times the group's deviation.

    A group is scaled so that by it the truth of uniformly drawn architectures has a variance of 1 (or 0: it can't
    vary).

    Args:
        sizes: the number of options of each variable.
        roots: of ``GROUPS``, ``(options, r)`` each, all variables' options in a row; without the last one where
            sensitivities are not known.
    """

    sizes: tuple[int, ...]
    roots: tuple[Array, ...]

    @classmethod
    def of(
        cls,
        space: "Space",
        costs: Sequence[Array] | None = None,
        sensitivity: Sequence[Sequence[float]] | None = None,
    ) -> "Prior":
        """That of a space.

        Args:
            costs: FLOPs of each variable's options, as ``CostTable.options`` gives them, for a slope in their log.
            sensitivity: the same shape, as ``search_spaces.sensitivity`` measures it.
        """
        options = [o for v in space.variables for o in v.options]
        sizes = tuple(len(v.options) for v in space.variables)
        variable = np.repeat(np.arange(len(sizes)), sizes)
        kinds, numbers = zip(*map(_described, options), strict=True)
        operator = _codes(kinds)
        points = _points(numbers)
        features = _features(operator, numbers, costs)
        alike = _codes([(code, *point) for code, point in zip(operator.tolist(), points.tolist(), strict=True)])
        each = np.eye(len(sizes))[variable]
        slopes = (features[:, None, :] * each[:, :, None]).reshape(len(options), -1)
        roots: tuple[Array, ...] = (
            *(np.eye(int(alike.max()) + 1)[alike], features, slopes),
            _smooth(variable, operator, points),
        )
        roots = (*roots, np.eye(len(options)))
        if sensitivity is not None:
            moved = np.maximum(np.concatenate([np.asarray(s, dtype=np.float64) for s in sensitivity]), 0.0)
            columns = [_scaled(column[:, None], variable) for column in (moved, np.sqrt(moved))]
            roots = (*roots, np.concatenate(columns, axis=1))
        return cls(sizes, tuple(_scaled(r, variable) for r in roots))

    @cached_property
    def covariances(self) -> tuple[Array, ...]:
        """Of each group ``(options, options)``."""
        return tuple(root @ root.T for root in self.roots)

    def draw(self, deviations: Sequence[float], generator: np.random.Generator) -> Array:
        """Effects ``(options,)``, where the groups vary by ``deviations``."""
        parts = [d * (r @ generator.standard_normal(r.shape[1])) for d, r in zip(deviations, self.roots, strict=True)]
        return np.sum(parts, axis=0)


def _described(option: "Option") -> tuple[tuple[object, ...], dict[str, float]]:
    """What an option is in kind (the operator, switches, words), and the log₂ of its numbers."""
    choice = option.choices[0]
    words = tuple((n, v) for n, v in choice.params if isinstance(v, (bool, str)))
    numbers = {n: float(v) for n, v in choice.params if not isinstance(v, (bool, str))}
    return (choice.operator, *words), {n: float(np.log2(max(v, LEAST_NUMBER))) for n, v in numbers.items()}


def _codes(kinds: Sequence[object]) -> NDArray[np.int64]:
    """Each kind as a number, in the order in which they come first."""
    order = {kind: i for i, kind in enumerate(dict.fromkeys(kinds))}
    return np.array([order[kind] for kind in kinds])


def _points(numbers: Sequence[dict[str, float]]) -> Array:
    """The options' numbers ``(options, names)``, in octaves. One that an option lacks is 0 there."""
    names = sorted({name for entry in numbers for name in entry})
    return np.array([[entry.get(name, 0.0) for name in names] for entry in numbers]).reshape(len(numbers), len(names))


def _features(operator: NDArray[np.int64], numbers: Sequence[dict[str, float]], costs: Sequence[Array] | None) -> Array:
    """What effects are linear in ``(options, features)``: the operator, each of its numbers, the log of the cost."""
    columns = []
    for code in range(int(operator.max()) + 1):
        among = operator == code
        columns.append(among.astype(np.float64))
        for name in sorted({n for entry, own in zip(numbers, among, strict=True) if own for n in entry}):
            values = np.array([entry.get(name, 0.0) for entry in numbers])
            columns.append(np.where(among, values - values[among].mean(), 0.0))
    if costs is not None:
        least = [np.finfo(np.float64).tiny + c.max() / 1024 for c in costs]
        columns.append(np.concatenate([np.log2(np.maximum(c, m) / c.max()) for c, m in zip(costs, least, strict=True)]))
    return np.stack(columns, axis=1)


def _smooth(variable: NDArray[np.int64], operator: NDArray[np.int64], points: Array) -> Array:
    """A root of the covariance that is the nearer to 1 the nearer two options of a variable and an operator are."""
    root = np.zeros((len(variable), len(variable)))
    for v in np.unique(variable):
        own = np.flatnonzero(variable == v)
        apart = ((points[own][:, None] - points[own][None]) ** 2).sum(axis=-1)
        covariance = np.exp(-apart / (2 * REACH**2)) * (operator[own][:, None] == operator[own][None])
        root[np.ix_(own, own)] = np.linalg.cholesky(covariance + JITTER * np.eye(len(own)))
    return root


def _scaled(root: Array, variable: NDArray[np.int64]) -> Array:
    """Divided by the deviation over uniformly drawn architectures that it gives to the truth."""
    blocks = [root[variable == v] for v in np.unique(variable)]
    varies = sum(float(((b - b.mean(axis=0)) ** 2).sum() / len(b)) for b in blocks)
    return root / varies**0.5 if varies > JITTER else np.zeros_like(root)
