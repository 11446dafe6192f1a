"""The tree-structured Parzen estimator, over all parameters jointly."""

from optuna.samplers import TPESampler

from .problem import Maker, Problem


def make(problem: Problem) -> Maker:
    """Uniform draws for the first quarter of the trials, at most ten; while others run, their values are imputed."""
    startup = max(2, min(10, problem.trials // 4))
    return lambda seed: TPESampler(multivariate=True, constant_liar=True, n_startup_trials=startup, seed=seed)
