"""The tree-structured Parzen estimator, over all parameters jointly."""

from optuna.samplers import BaseSampler, TPESampler


def make(seed: int, trials: int) -> BaseSampler:
    """Uniform draws for the first quarter of the trials, at most ten; while others run, their values are imputed."""
    return TPESampler(multivariate=True, constant_liar=True, n_startup_trials=max(2, min(10, trials // 4)), seed=seed)
