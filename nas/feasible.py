"""Draws under a budget: every draw keeps every budget by construction, however tight. Knows neither Optuna nor Ray.

Costs are additive over variables, so the number (or the weight) of the ways to complete a partial architecture within
what is left of the budget follows from a small dynamic programme over discretised cost. Drawing variable by variable
with those numbers gives an exact draw from any product distribution *conditioned on the budget*. Costs are discretised
relative to the slack between the budget and the least that is reachable, rounded down, and a draw that turns out to
break a budget is thrown away: a tight budget costs no precision, and the distribution stays exact.

Several budgets are combined into one (a convex combination of their relative excesses, which every architecture that
keeps them all keeps); what the combination lets pass is thrown away too. Where that leaves too few, the best
architecture by disturbed weights is taken: by ``knapsack.py``, or within several budgets by an integer programme
(SciPy's HiGHS).
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from .knapsack import Indices, Limit, best_within

BINS = 4096
PENALTIES, HALVINGS = (-10.0, 12.0), 10  # on a cost, as powers of two of a typical effect for each slack of the limit
BATCH = 64
PILOT = 512
TOLERANCE = 1e-6
ENUMERABLE = 20_000
NODES = 500_000
SOLVER_S = 5.0
SPAN = 40.0  # of the worth of a variable's options, as the solver has it: wide enough for its tolerances
LEAST_WEIGHT = 1e-300  # has a logarithm
GRID = 8


ALL_TRIED = "every architecture within the budgets has been tried"


class ExhaustedError(RuntimeError):
    """No further architecture within the budgets: there is none (``complete``), or the search for one was given up."""

    def __init__(self, complete: bool) -> None:
        given_up = "no further architecture within the budgets was found, though there may be some"
        super().__init__(ALL_TRIED if complete else given_up)
        self.complete = complete


class _TooManyError(Exception):
    """There are more than can be listed."""


Weights = Sequence[NDArray[np.float64]]


class Feasible:
    """The architectures within all budgets, as option indices.

    Args:
        sizes: the number of options of each variable.
        limits: the budgets; none is no limit.

    Raises:
        ValueError: no architecture is within all budgets.
    """

    def __init__(self, sizes: Sequence[int], limits: Sequence[Limit], seed: int = 0) -> None:
        self.sizes, self.limits = list(sizes), list(limits)
        self.uniform: Weights = [np.ones(n) for n in sizes]
        if any(limit.limit < limit.least for limit in limits) or (len(limits) > 1 and self.best(self.uniform) is None):
            raise ValueError("no architecture is within all budgets")
        self._bins = self._best_combination(np.random.default_rng(seed))

    def keeps(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each row of ``(n, variables)`` is within every budget: the exact test behind every draw."""
        kept = np.ones(len(indices), dtype=bool)
        for limit in self.limits:
            kept &= limit.sums(indices) <= limit.limit
        return kept

    def draw(
        self, weights: Weights, rng: np.random.Generator, taken: frozenset[Indices] | set[Indices] = frozenset()
    ) -> Indices:
        """One architecture within all budgets, from the product distribution of ``weights``, that is not ``taken``.

        If the distribution yields nothing that is not, it is flattened step by step towards the uniform one.

        Raises:
            ExhaustedError: there is none, or none could be found.
        """
        for flatness in (1.0, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0):
            flattened = [w**flatness for w in weights]
            rows = self._relaxed_draws(flattened, BATCH, rng)
            for row in rows[self.keeps(rows)].tolist():
                if tuple(row) not in taken:
                    return tuple(row)
            if self.limits and len(taken) < ENUMERABLE and flatness:
                noisy = [np.log(np.maximum(w, LEAST_WEIGHT)) + rng.gumbel(size=len(w)) for w in flattened]
                found = self.best(noisy)
                if found is not None and found not in taken:
                    return found
        return self._from_few(rng, taken)

    def best(self, worth: Weights, beside: Limit | None = None) -> Indices | None:
        """The architecture within all budgets whose sum of ``worth`` is largest; ``None`` if there is none.

        Under one budget a dynamic programme finds it, exactly but for the rounding of costs (a few times ``1 / FINE``
        of the slack); under several an integer programme does.

        Args:
            worth: of each variable's options, ``(options,)`` each.
            beside: a further limit; on another cost than the budget's it is kept by a penalty (Lagrange), so that what
                is found is nearly the best.
        """
        limits = _tightest([*self.limits, *([beside] if beside else [])])
        if not limits:
            return tuple(int(w.argmax()) for w in worth)
        if len(limits) == 1:
            return best_within(limits[0], worth)
        if beside is None:
            return self._by_integer_programme(worth)
        return self._penalised(worth, beside)

    def _penalised(self, worth: Weights, beside: Limit) -> Indices | None:
        """Under the least penalty on ``beside``'s costs, of a series that is ever finer, that keeps its limit."""
        excess = beside.excess()
        size = sum(float(np.ptp(w)) for w in worth) / len(worth) or 1.0
        found, low, high = None, *PENALTIES
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            penalty = size * 2.0**middle
            tried = self.best([w - penalty * e for w, e in zip(worth, excess, strict=True)])
            if tried is not None and beside.sums(np.array([tried]))[0] <= beside.limit:
                found, high = tried, middle
            else:
                low = middle
        return found

    def _by_integer_programme(self, worth: Weights) -> Indices | None:
        starts = np.cumsum([0, *self.sizes])
        total = int(starts[-1])
        one_each = np.zeros((len(self.sizes), total))
        for i, (a, b) in enumerate(itertools.pairwise(starts)):
            one_each[i, a:b] = 1
        unit = max(float(np.ptp(w)) for w in worth) or 1.0
        loss = np.concatenate([SPAN * (w.max() - w) / unit for w in worth])
        for tolerance in (0, TOLERANCE):  # the solver's own tolerance may let a limit be broken by a hair
            constraints = [LinearConstraint(one_each, 1, 1)]
            for limit in self.limits:
                scaled = np.minimum(np.concatenate(limit.excess()), 2.0)[None]
                constraints.append(LinearConstraint(scaled, -np.inf, 1 - tolerance if limit.limit > limit.least else 0))
            options = {"time_limit": SOLVER_S}
            solution = milp(
                loss, constraints=constraints, integrality=np.ones(total), bounds=Bounds(0, 1), options=options
            )
            if solution.x is not None:
                chosen = [int(np.argmax(solution.x[a:b])) for a, b in itertools.pairwise(starts)]
                if self.keeps(np.array([chosen]))[0]:
                    return tuple(chosen)
        return None

    def log10_size(self) -> float:
        """The number of architectures within all budgets, as a power of ten (estimated, a few per cent)."""
        scale, table = 0.0, np.ones(BINS + 1)
        for w, b in zip(reversed(self.uniform), reversed(self._bins), strict=True):
            table = _add_variable(table, w, b)
            top = table[BINS]
            table, scale = table / top, scale + float(np.log10(top))
        rows = self._relaxed_draws(self.uniform, 4 * PILOT, np.random.default_rng(0))
        kept = float(self.keeps(rows).mean())
        return scale + float(np.log10(kept)) if kept else float("nan")

    def _best_combination(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Bins of the convex combination of the budgets' excesses that lets the fewest through in vain."""
        if not self.limits:
            return [np.zeros(n, dtype=np.int64) for n in self.sizes]
        excesses = [limit.excess() for limit in self.limits]
        best, best_rate = None, -1.0
        for shares in _simplex(len(self.limits)):
            combined = [
                sum(s * e for s, e in zip(shares, column, strict=True)) for column in zip(*excesses, strict=True)
            ]
            bins = [np.minimum(np.floor(np.asarray(c) * BINS), BINS + 1).astype(np.int64) for c in combined]
            self._bins = bins
            rate = float(self.keeps(self._relaxed_draws(self.uniform, PILOT, rng)).mean())
            if rate > best_rate:
                best, best_rate = bins, rate
        assert best is not None
        return best

    def _relaxed_draws(self, weights: Weights, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """``(count, variables)`` draws within the combined, rounded-down budget."""
        tables = [np.ones(BINS + 1)]
        for w, b in zip(reversed(weights), reversed(self._bins), strict=True):
            table = _add_variable(tables[-1], w, b)
            tables.append(table / table[BINS])
        left = np.full(count, BINS)
        rows = np.empty((count, len(self.sizes)), dtype=np.int64)
        for i, (w, b, rest) in enumerate(zip(weights, self._bins, reversed(tables[:-1]), strict=True)):
            after = left[:, None] - b[None, :]
            mass = np.where(after >= 0, rest[np.maximum(after, 0)], 0.0) * w
            cumulated = mass.cumsum(axis=1)
            point = rng.random(count) * cumulated[:, -1]
            rows[:, i] = np.minimum((cumulated <= point[:, None]).sum(axis=1), len(w) - 1)
            left = left - b[rows[:, i]]
        return rows

    def _from_few(self, rng: np.random.Generator, taken: frozenset[Indices] | set[Indices]) -> Indices:
        """Where nearly all are taken: list what is left, as far as it can be listed, and pick one.

        Raises:
            ExhaustedError: nothing is left, or nothing was found in as many steps as are allowed; it says which.
        """
        free: list[Indices] = []
        cut = False
        try:
            for row in self._enumerate(rng):
                free += [row] if row not in taken else []
                if len(free) == ENUMERABLE:
                    break
        except _TooManyError:
            cut = True
        if free:
            return free[int(rng.integers(len(free)))]
        raise ExhaustedError(complete=not cut)

    def _enumerate(self, rng: np.random.Generator) -> Iterator[Indices]:
        """All architectures within all budgets, depth first; a branch ends where even its cheapest rest is too much.

        Raises:
            _TooManyError: after ``NODES`` steps.
        """
        orders = [rng.permutation(n).tolist() for n in self.sizes]
        visited = itertools.count()
        tails = [np.cumsum([0.0, *(float(c.min()) for c in reversed(limit.costs))])[::-1] for limit in self.limits]

        def extend(prefix: Indices, spent: tuple[float, ...]) -> Iterator[Indices]:
            i = len(prefix)
            if i == len(self.sizes):
                yield prefix
                return
            for option in orders[i]:
                if next(visited) > NODES:
                    raise _TooManyError
                total = tuple(s + float(lim.costs[i][option]) for s, lim in zip(spent, self.limits, strict=True))
                if all(t + tail[i + 1] <= lim.limit for t, tail, lim in zip(total, tails, self.limits, strict=True)):
                    yield from extend((*prefix, option), total)

        return extend((), (0.0,) * len(self.limits))


def _tightest(limits: Sequence[Limit]) -> list[Limit]:
    """One limit for each cost."""
    found: list[Limit] = []
    for limit in sorted(limits, key=lambda m: m.limit):
        if not any(all(map(np.array_equal, limit.costs, other.costs)) for other in found):
            found.append(limit)
    return found


def _add_variable(
    table: NDArray[np.float64], weights: NDArray[np.float64], bins: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``T'[r] = Σ_o w_o · T[r − b_o]``: the weight of all ways to spend at most r bins with one more variable."""
    extended = np.zeros_like(table)
    for w, b in zip(weights.tolist(), bins.tolist(), strict=True):
        if b <= BINS:
            extended[b:] += w * table[: BINS + 1 - b]
    return extended


def _simplex(dimensions: int) -> list[tuple[float, ...]]:
    """Convex weights on a grid of eighths."""
    grid = itertools.product(range(GRID + 1), repeat=dimensions)
    return [tuple(i / GRID for i in point) for point in grid if sum(point) == GRID]
