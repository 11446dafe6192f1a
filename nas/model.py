"""What every judged architecture says about each option: an additive model of accuracy, pooled over all noisy scores.

truth(architecture) = level + Σ over variables of effect(variable, option); a score is the truth plus noise. The effects
have a Gaussian prior (Bayesian linear regression with grouped prior variances; Rasmussen and Williams, 2006, ch. 2):

- ``kind``: an operator with its settings means the same at every variable;
- ``trend``: one slope, shared by all variables, for an operator and in the log of its numbers, and of its cost;
- ``slope``: the same for each variable of its own;
- ``smooth``: of a variable's own, alike at near settings (squared exponential over the log₂ of the numbers);
- ``own``: of an option's own, alike to nothing.

How much each of them varies (and the noise, where it was not measured) maximises the marginal likelihood, with a weak
prior that holds it where there is little data. Scores are compressed to at most one per feature, so that many cost
little more than few.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from search_spaces import Option, Space

Array = NDArray[np.float64]

GROUPS = ("kind", "trend", "slope", "smooth", "own")
REACH = 2.0  # octaves over which a smooth effect stays alike
LEAST_NUMBER = 1 / 64  # a hyper-parameter of 0 has no logarithm
LEVEL_VARIANCE = 10.0  # of the mean over all architectures, around the mean score, as a multiple of the scores'
# The weak prior: the log of a variance, as a multiple of the scores', is normal with this centre and this deviation.
SIGNAL_CENTRE, SIGNAL_DEVIATION = -2.5, 2.0
NOISE_CENTRE, NOISE_DEVIATION = -1.5, 2.0
LOG_BOUNDS = (-9.0, 4.0)
STARTS = ((0.0, 0.0), (-3.0, 1.5))  # added to the centres of (signal, noise)
OPTIONS = {"maxiter": 60, "ftol": 1e-6}  # of the log likelihood: closer is no better
FLOOR = 1e-6  # the least noise variance, for arithmetic's sake, as a multiple of the scores' variance


@dataclass(frozen=True)
class Model:
    """The posterior of the effects. Made by ``fit``; scores, means and deviations are in the unit of the scores.

    Args:
        sizes: the number of options of each variable.
        rows: the option indices that were fitted ``(N, variables)``; ``scores``: theirs ``(N,)``.
        mean: of the effects, all variables' options in a row, and of the level, last: ``(options + 1,)``.
        covariance: theirs ``(options + 1, options + 1)``.
        noise: the standard deviation of one score, as measured or as estimated.
        deviations: how much the truth of random architectures varies by each of ``GROUPS``, as a standard deviation.
    """

    sizes: tuple[int, ...]
    rows: NDArray[np.int64]
    scores: Array
    mean: Array
    covariance: Array
    noise: float
    deviations: dict[str, float]

    @classmethod
    def fit(
        cls,
        space: "Space",
        rows: NDArray[np.int64],
        scores: Array,
        noise: float | None = None,
        costs: Sequence[Array] | None = None,
    ) -> "Model":
        """Fit to what was judged; no record, or one, or the same architecture several times, are all right.

        Args:
            rows: option indices ``(N, variables)``; ``scores``: ``(N,)``, in any unit.
            noise: the standard deviation of one score, where it was measured; ``None``: estimate it.
            costs: FLOPs of each variable's options, as ``CostTable.options`` gives them, for a slope in their log.
        """
        sizes = tuple(len(v.options) for v in space.variables)
        rows = np.asarray(rows, dtype=np.int64).reshape(-1, len(sizes))
        scores = np.asarray(scores, dtype=np.float64).reshape(-1)
        if len(rows) != len(scores):
            raise ValueError(f"one score for each row, got {len(rows)} rows and {len(scores)} scores")
        level, scale = _standard(scores, noise)
        covariances = prior_covariances(space, costs)
        known = None if noise is None else max((noise / scale) ** 2, FLOOR)
        with threadpool_limits(1):  # beside trials that use all cores, two threads took 40 times as long as one
            data = _compressed(one_hot(sizes, rows), (scores - level) / scale)
            variances, noise_variance = _fitted(data, covariances, known)
            mean, covariance = _posterior(data, _total(covariances, variances), noise_variance)
        mean = mean * scale
        mean[-1] += level
        deviations = dict(zip(GROUPS, (scale * np.sqrt(variances)).tolist(), strict=True))
        deviation = float(scale * noise_variance**0.5)
        return cls(sizes, rows, scores, mean, covariance * scale**2, deviation, deviations)

    def predict(self, rows: NDArray[np.int64]) -> tuple[Array, Array]:
        """``(M, variables)`` → the mean and the standard deviation of the truth (not of a score), ``(M,)`` each."""
        features = one_hot(self.sizes, rows)
        with threadpool_limits(1):
            variance = np.einsum("nd,nd->n", features @ self.covariance, features)
        return features @ self.mean, np.sqrt(np.maximum(variance, 0.0))

    def effects(self) -> list[Array]:
        """The posterior means: ``variables`` arrays of ``(options,)``. Only differences within one mean something."""
        return self._by_variable(self.mean)

    def sample(self, generator: np.random.Generator) -> list[Array]:
        """One draw from the posterior of the effects, as ``effects`` gives them (Thompson sampling)."""
        return self._by_variable(self.mean + self._root @ generator.standard_normal(len(self.mean)))

    def leave_one_out(self) -> Array:
        """``(N,)``: what each row's truth would be predicted to be without any score of its architecture.

        In closed form, the variances as fitted to all: the posterior of the truth divided by its scores' likelihood.
        """
        _, which, counts = np.unique(self.rows, axis=0, return_inverse=True, return_counts=True)
        which = which.reshape(-1)
        own = (np.bincount(which, self.scores, len(counts)) / np.maximum(counts, 1))[which]
        fitted, deviation = self.predict(self.rows)
        share = np.minimum(counts[which] * (deviation / self.noise) ** 2, 1 - 1e-9)
        return (fitted - share * own) / (1 - share)

    @cached_property
    def _root(self) -> Array:
        """A square root of the covariance ``(options + 1, options + 1)``."""
        with threadpool_limits(1):
            values, vectors = np.linalg.eigh(self.covariance)
        return vectors * np.sqrt(np.maximum(values, 0.0))

    def _by_variable(self, effects: Array) -> list[Array]:
        return np.split(effects[:-1], np.cumsum(self.sizes)[:-1])


def one_hot(sizes: Sequence[int], rows: NDArray[np.int64]) -> Array:
    """Option indices ``(N, variables)`` → ``(N, options + 1)``: 1 at each chosen option, and at the level, last."""
    starts = np.cumsum([0, *sizes])
    rows = np.asarray(rows, dtype=np.int64).reshape(-1, len(sizes))
    features = np.zeros((len(rows), int(starts[-1]) + 1))
    features[:, -1] = 1
    np.put_along_axis(features, rows + starts[:-1], 1.0, axis=1)
    return features


def prior_covariances(space: "Space", costs: Sequence[Array] | None) -> list[Array]:
    """Of each of ``GROUPS`` the prior covariance of the effects, ``(options, options)``.

    Each is scaled so that by it the truth of uniformly drawn architectures has a variance of 1 (or 0: it can't vary).
    """
    options = [o for v in space.variables for o in v.options]
    variable = np.repeat(np.arange(len(space.variables)), [len(v.options) for v in space.variables])
    kinds, numbers = zip(*map(_described, options), strict=True)
    operator = _codes(kinds)
    same_variable = variable[:, None] == variable[None]
    same_operator = operator[:, None] == operator[None]
    apart = _squared_distances(numbers)
    features = _features(operator, numbers, costs)
    linear = features @ features.T
    found = (
        same_operator & (apart == 0),
        linear,
        linear * same_variable,
        np.exp(-apart / (2 * REACH**2)) * same_operator * same_variable,
        np.eye(len(options)),
    )
    return [_scaled(np.asarray(c, dtype=np.float64), variable) for c in found]


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


def _squared_distances(numbers: Sequence[dict[str, float]]) -> Array:
    """Between all options, over all their numbers: octaves squared. A number that an option lacks is 0 there."""
    names = sorted({name for entry in numbers for name in entry})
    points = np.array([[entry.get(name, 0.0) for name in names] for entry in numbers]).reshape(len(numbers), len(names))
    return ((points[:, None] - points[None]) ** 2).sum(axis=-1)


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


def _scaled(covariance: Array, variable: NDArray[np.int64]) -> Array:
    """Divided by the variance over uniformly drawn architectures that it gives to the truth."""
    blocks = [covariance[np.ix_(variable == v, variable == v)] for v in np.unique(variable)]
    varies = sum(float(np.diag(b).mean() - b.mean()) for b in blocks)
    return covariance / varies if varies > 1e-9 else np.zeros_like(covariance)


@dataclass(frozen=True)
class _Data:
    """Scores, rotated so that there are no more of them than features: ``features`` (n, options + 1), ``scores`` (n,).

    ``spare``: how many more there were, which hold nothing but noise; ``residue``: the sum of their squares.
    """

    features: Array
    scores: Array
    spare: int
    residue: float


def _compressed(features: Array, scores: Array) -> _Data:
    if len(scores) <= features.shape[1]:
        return _Data(features, scores, 0, 0.0)
    q, r = np.linalg.qr(features)
    kept = q.T @ scores
    return _Data(r, kept, len(scores) - len(kept), max(float(scores @ scores - kept @ kept), 0.0))


def _standard(scores: Array, noise: float | None) -> tuple[float, float]:
    """The scores' mean, and the unit in which they vary by about 1; a guess where they do not tell."""
    if not len(scores):
        return 0.0, max(noise or 0.0, 1.0)
    varies, size = float(scores.std()), float(np.abs(scores).max())
    varies = max(varies if varies > 1e-9 * size else 0.0, noise or 0.0)
    return float(scores.mean()), varies or 0.1 * size or 1.0


def _total(covariances: Sequence[Array], variances: Array) -> Array:
    """The prior covariance of the effects and of the level, last: ``(options + 1, options + 1)``."""
    options = len(covariances[0])
    total = np.zeros((options + 1, options + 1))
    for covariance, variance in zip(covariances, variances, strict=True):
        total[:-1, :-1] += variance * covariance
    total[-1, -1] = LEVEL_VARIANCE
    return total


def _fitted(data: _Data, covariances: Sequence[Array], known: float | None) -> tuple[Array, float]:
    """The groups' variances ``(groups,)`` and the noise's (``known``, or fitted): the most probable of a few starts."""
    groups = len(covariances)
    centre = np.array([SIGNAL_CENTRE] * groups + [NOISE_CENTRE] * (known is None))
    best = centre
    if len(data.scores):
        loss = _loss(data, covariances, known)
        shifts = [np.array([s] * groups + [n] * (known is None)) for s, n in STARTS]
        bounds = [LOG_BOUNDS] * len(centre)
        found = [
            minimize(loss, centre + shift, jac=True, method="L-BFGS-B", bounds=bounds, options=OPTIONS)
            for shift in shifts
        ]
        best = min(found, key=lambda f: float(f.fun)).x
    return np.exp(best[:groups]), known if known is not None else float(np.exp(best[-1]))


def _loss(data: _Data, covariances: Sequence[Array], known: float | None) -> Callable[[Array], tuple[float, Array]]:
    """Minus the log of the posterior of the log variances, with its gradient (Rasmussen and Williams, eq. 5.8, 5.9)."""
    options = data.features[:, :-1]
    parts = np.stack([options @ c @ options.T for c in covariances])
    level = LEVEL_VARIANCE * np.outer(data.features[:, -1], data.features[:, -1])
    groups, n = len(parts), len(data.scores)
    centre = np.array([SIGNAL_CENTRE] * groups + [NOISE_CENTRE] * (known is None))
    deviation = np.array([SIGNAL_DEVIATION] * groups + [NOISE_DEVIATION] * (known is None))

    def loss(logs: Array) -> tuple[float, Array]:
        variances, noise = np.exp(logs[:groups]), known if known is not None else float(np.exp(logs[-1]))
        factor = cho_factor(np.tensordot(variances, parts, 1) + level + noise * np.eye(n), lower=True)
        inverse = cho_solve(factor, np.eye(n))
        weights = inverse @ data.scores
        likelihood = -0.5 * float(data.scores @ weights) - float(np.log(np.diag(factor[0])).sum())
        likelihood -= 0.5 * (data.residue / noise + data.spare * float(np.log(noise)))
        slack = np.outer(weights, weights) - inverse
        gradient = 0.5 * variances * np.tensordot(parts, slack, 2)
        of_noise = 0.5 * (noise * float(np.trace(slack)) + data.residue / noise - data.spare)
        gradient = gradient if known is not None else np.append(gradient, of_noise)
        off = (logs - centre) / deviation
        return -likelihood + 0.5 * float(off @ off), -gradient + off / deviation

    return loss


def _posterior(data: _Data, prior: Array, noise: float) -> tuple[Array, Array]:
    """The mean and the covariance of effects and level, given the scores (Rasmussen and Williams, eq. 2.25, 2.26)."""
    if not len(data.scores):
        return np.zeros(len(prior)), prior
    across = data.features @ prior
    factor = cho_factor(across @ data.features.T + noise * np.eye(len(data.scores)), lower=True)
    solved = cho_solve(factor, across)
    covariance = prior - across.T @ solved
    return solved.T @ data.scores, (covariance + covariance.T) / 2
