"""What every judged architecture says about each option: an additive model of accuracy, pooled over all noisy scores.

truth(architecture) = level + Σ over variables of effect(variable, option); a score is the truth plus noise. The effects
have the Gaussian prior of ``prior.py`` (Bayesian linear regression with grouped prior variances; Rasmussen and
Williams, 2006, ch. 2). How much each of its groups varies (and the noise, where it was not measured) maximises the
marginal likelihood, with a weak prior that holds it where there is little data. Scores are compressed to at most one
per option, so that many cost little more than few.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.blas import dtrmm
from scipy.optimize import minimize
from scipy.sparse import csr_array
from threadpoolctl import ThreadpoolController

from .prior import Array, Prior

LEVEL_VARIANCE = 10.0  # of the mean over all architectures, around the mean score, as a multiple of the scores'
# The weak prior: the log of a variance, as a multiple of the scores', is normal with this centre and this deviation.
SIGNAL_CENTRE, SIGNAL_DEVIATION = -2.5, 2.0
NOISE_CENTRE, NOISE_DEVIATION = -1.5, 2.0
LOG_BOUNDS = (-9.0, 4.0)
OPTIONS = {"maxiter": 60, "ftol": 1e-6}  # of the log likelihood: closer is no better
FLOOR = 1e-6  # the least noise variance, for arithmetic's sake, as a multiple of the scores' variance
ENOUGH = 256  # scores to which the groups' variances are fitted, where there are more
JITTER = 1e-10


@cache
def _controller() -> ThreadpoolController:
    """Of the libraries that are loaded; looking for them takes milliseconds."""
    return ThreadpoolController()


def _one_thread() -> AbstractContextManager[Any]:
    """Beside trials that use all cores, two threads took 40 times as long as one."""
    limit: AbstractContextManager[Any] = _controller().limit(limits=1)
    return limit


@dataclass(frozen=True)
class Spread:
    """How much everything varies, as standard deviations in the unit of the scores.

    Args:
        groups: the truth of random architectures, by each of the prior's groups.
        noise: one score, as measured or as estimated.
        level: the mean over all architectures, around the mean score.
    """

    groups: tuple[float, ...]
    noise: float
    level: float


@dataclass(frozen=True)
class Model:
    """The posterior of the effects. Made by ``fit``; scores, means and deviations are in the unit of the scores.

    Args:
        rows: the option indices that were fitted ``(N, variables)``; ``scores``: theirs ``(N,)``.
        mean: of the effects, all variables' options in a row, and of the level, last: ``(options + 1,)``.
    """

    prior: Prior
    rows: NDArray[np.int64]
    scores: Array
    spread: Spread
    mean: Array
    _posterior: "_Posterior" = field(repr=False)

    @classmethod
    def fit(
        cls,
        prior: Prior,
        rows: NDArray[np.int64],
        scores: Array,
        noise: float | None = None,
        like: "Model | None" = None,
        gram: Array | None = None,
    ) -> "Model":
        """Fit to what was judged; no record, or one, or the same architecture several times, are all right.

        Args:
            rows: option indices ``(N, variables)``; ``scores``: ``(N,)``, in any unit.
            noise: the standard deviation of one score, where it was measured; ``None``: estimate it.
            like: a model of the same prior, whose spread (``noise`` included) is taken over instead of being fitted.
            gram: how often any two options were chosen together (``gram_of``), where that was counted before.
        """
        rows = np.asarray(rows, dtype=np.int64).reshape(-1, len(prior.sizes))
        scores = np.asarray(scores, dtype=np.float64).reshape(-1)
        if len(rows) != len(scores):
            raise ValueError(f"one score for each row, got {len(rows)} rows and {len(scores)} scores")
        with _one_thread():
            spread = fitted_spread(prior, rows, scores, noise) if like is None else like.spread
            total = _total(prior, spread) if like is None else like._posterior.total
            level = float(scores.mean()) if len(scores) else 0.0
            data = _compressed(prior.sizes, rows, scores - level, gram)
            posterior = _Posterior.of(prior, data, spread, total)
            mean = posterior.effects(data.scores)
        mean[-1] += level
        return cls(prior, rows, scores, spread, mean, posterior)

    @property
    def noise(self) -> float:
        """The standard deviation of one score."""
        return self.spread.noise

    @cached_property
    def covariance(self) -> Array:
        """Of the effects and the level ``(options + 1, options + 1)``."""
        with _one_thread():
            return self._posterior.covariance()

    def expected(self, rows: NDArray[np.int64]) -> Array:
        """``(M, variables)`` → the mean of the truth ``(M,)``."""
        mean: Array = one_hot(self.prior.sizes, rows) @ self.mean
        return mean

    def predict(self, rows: NDArray[np.int64]) -> tuple[Array, Array]:
        """``(M, variables)`` → the mean and the standard deviation of the truth (not of a score), ``(M,)`` each."""
        features = one_hot(self.prior.sizes, rows)
        with _one_thread():
            variance = features.multiply(features @ self.covariance).sum(axis=1)
        return features @ self.mean, np.sqrt(np.maximum(variance, 0.0))

    def effects(self) -> list[Array]:
        """The posterior means: ``variables`` arrays of ``(options,)``. Only differences within one mean something."""
        return self._by_variable(self.mean)

    def sample(self, generator: np.random.Generator, boldness: float = 1.0) -> list[Array]:
        """One draw from the posterior of the effects, as ``effects`` gives them (Thompson sampling).

        Args:
            boldness: by how much of its distance from the mean it is drawn.
        """
        with _one_thread():
            return self._by_variable(self.mean + boldness * self._posterior.deviation(generator))

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

    def _by_variable(self, effects: Array) -> list[Array]:
        return np.split(effects[:-1], np.cumsum(self.prior.sizes)[:-1])


@dataclass(frozen=True)
class _Data:
    """Scores, rotated so that there are no more of them than features: ``features`` (n, options + 1), ``scores`` (n,).

    ``spare``: how many more there were, which hold nothing but noise; ``residue``: the sum of their squares.
    """

    features: "Array | csr_array"
    scores: Array
    spare: int
    residue: float


@dataclass(frozen=True)
class _Posterior:
    """Of effects and level, given the scores of ``data`` (Rasmussen and Williams, eq. 2.25, 2.26).

    Args:
        total: prior covariance of the effects and the level ``(options + 1, options + 1)``; ``across``: of the scores
            and those ``(n, options + 1)``; ``factor``: of the scores' own.
    """

    prior: Prior
    data: _Data
    spread: Spread
    total: Array
    across: Array
    factor: tuple[Array, bool]

    @classmethod
    def of(cls, prior: Prior, data: _Data, spread: Spread, total: Array) -> "_Posterior":
        times = _times_triangle if isinstance(data.features, np.ndarray) else (lambda a, b: a @ b)
        across = times(data.features, total)
        own = times(data.features, across.T)
        own[np.diag_indices_from(own)] += spread.noise**2
        factor = cho_factor(own, lower=True) if len(own) else (own, True)
        return cls(prior, data, spread, total, across, factor)

    def effects(self, scores: Array) -> Array:
        """The mean, if ``scores`` had been found ``(n,)``."""
        if not len(scores):
            return np.zeros(self.across.shape[1])
        return cho_solve(self.factor, scores) @ self.across

    def covariance(self) -> Array:
        if not len(self.data.scores):
            return self.total
        half = solve_triangular(self.factor[0], self.across, lower=True)
        return self.total - half.T @ half

    def deviation(self, generator: np.random.Generator) -> Array:
        """A draw around the mean: one of the prior, less what scores drawn from it say of it (Matheron's rule)."""
        drawn = np.append(
            self.prior.draw(self.spread.groups, generator), self.spread.level * generator.standard_normal()
        )
        scores = self.data.features @ drawn + self.spread.noise * generator.standard_normal(len(self.data.scores))
        return drawn - self.effects(scores)


def _times_triangle(triangle: Array, other: Array) -> Array:
    """The product with an upper triangle, such as compressed features are: half the work of another."""
    return np.asarray(dtrmm(1.0, triangle, other))


def one_hot(sizes: tuple[int, ...], rows: NDArray[np.int64]) -> csr_array:
    """Option indices ``(N, variables)`` → ``(N, options + 1)``: 1 at each chosen option, and at the level, last."""
    starts = np.cumsum([0, *sizes])
    rows = np.asarray(rows, dtype=np.int64).reshape(-1, len(sizes))
    chosen = np.concatenate([rows + starts[:-1], np.full((len(rows), 1), starts[-1])], axis=1)
    ends = np.arange(len(rows) + 1) * chosen.shape[1]
    return csr_array((np.ones(chosen.size), chosen.reshape(-1), ends), shape=(len(rows), int(starts[-1]) + 1))


def fitted_spread(prior: Prior, rows: NDArray[np.int64], scores: Array, noise: float | None) -> Spread:
    """The most probable one, given scores; where there are many, given ``ENOUGH`` of them."""
    few = thinned(rows)
    level, scale = _standard(scores[few], noise)
    known = None if noise is None else max((noise / scale) ** 2, FLOOR)
    with _one_thread():
        data = _compressed(prior.sizes, rows[few], (scores[few] - level) / scale)
        variances, noise_variance = _fitted(data, prior, known)
    return Spread(
        tuple((scale * np.sqrt(variances)).tolist()), float(scale * noise_variance**0.5), scale * LEVEL_VARIANCE**0.5
    )


def thinned(rows: NDArray[np.int64], most: int = ENOUGH) -> NDArray[np.int64]:
    """Indices of ``most`` rows at random, in order; of more rows nearly the same ones, in whatever order they came."""
    if len(rows) <= most:
        return np.arange(len(rows))
    keys = np.random.default_rng(0).integers(1, 2**63, rows.shape[1], dtype=np.uint64) | np.uint64(1)
    mixed = ((rows.astype(np.uint64) + np.uint64(1)) * keys).sum(axis=1, dtype=np.uint64)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    return np.sort(np.argsort(mixed, kind="stable")[:most])


def _total(prior: Prior, spread: Spread) -> Array:
    """The prior covariance of the effects and the level, last."""
    options = sum(prior.sizes)
    total = np.zeros((options + 1, options + 1))
    for deviation, covariance in zip(spread.groups, prior.covariances, strict=True):
        total[:-1, :-1] += deviation**2 * covariance
    total[-1, -1] = spread.level**2
    return total


def gram_of(sizes: tuple[int, ...], rows: NDArray[np.int64]) -> Array:
    """How often any two options were chosen together, the level last: ``(options + 1, options + 1)``, whole numbers."""
    features = one_hot(sizes, rows)
    counts: Array = (features.T @ features).toarray()
    return counts


def _compressed(sizes: tuple[int, ...], rows: NDArray[np.int64], scores: Array, gram: Array | None = None) -> _Data:
    features = one_hot(sizes, rows)
    if len(scores) <= features.shape[1]:
        return _Data(features, scores, 0, 0.0)
    gram = gram_of(sizes, rows) if gram is None else gram
    root = np.linalg.cholesky(gram + JITTER * len(scores) * np.eye(len(gram)))  # so that it exists
    kept = solve_triangular(root, features.T @ scores, lower=True)
    return _Data(root.T, kept, len(scores) - len(kept), max(float(scores @ scores - kept @ kept), 0.0))


def _standard(scores: Array, noise: float | None) -> tuple[float, float]:
    """The scores' mean, and the unit in which they vary by about 1; a guess where they do not tell."""
    if not len(scores):
        return 0.0, max(noise or 0.0, 1.0)
    varies, size = float(scores.std()), float(np.abs(scores).max())
    varies = max(varies if varies > 1e-9 * size else 0.0, noise or 0.0)
    return float(scores.mean()), varies or 0.1 * size or 1.0


def _fitted(data: _Data, prior: Prior, known: float | None) -> tuple[Array, float]:
    """The groups' variances ``(groups,)`` and the noise's (``known``, or fitted), the most probable ones.

    One start is enough: over 144 sets of scores another, far from it, never led to another maximum.
    """
    groups = len(prior.roots)
    centre = np.array([SIGNAL_CENTRE] * groups + [NOISE_CENTRE] * (known is None))
    best = centre
    if len(data.scores):
        loss = _loss(data, prior, known)
        bounds = [LOG_BOUNDS] * len(centre)
        best = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds, options=OPTIONS).x
    return np.exp(best[:groups]), known if known is not None else float(np.exp(best[-1]))


def _loss(data: _Data, prior: Prior, known: float | None) -> Callable[[Array], tuple[float, Array]]:
    """Minus the log of the posterior of the log variances, with its gradient (Rasmussen and Williams, eq. 5.8, 5.9)."""
    options = data.features[:, :-1]
    halves = [options @ root for root in prior.roots]
    parts = np.stack([half @ half.T for half in halves])
    ones = data.features[:, -1:] @ np.ones(1)
    level = LEVEL_VARIANCE * np.outer(ones, ones)
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
